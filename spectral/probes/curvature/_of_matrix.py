"""The spectrum of a matrix of the stream's criterion, as probes measure it."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PRNGKeyArray, PyTree

from ..._arguments import check_count
from ...curvature import AbstractOperator, AbstractSpectrum, Lanczos, Risk
from .._base._sampler import Sampler


Matrix = Callable[[Risk, PyTree], AbstractOperator]
Estimator = Callable[..., AbstractSpectrum]


def check_options(estimator: Any, batch_size: int | None, num_examples: int) -> None:
    """**Raises:** `ValueError` if `batch_size` does not divide `num_examples`; `TypeError` if
    `estimator` is a class."""
    if isinstance(estimator, type):
        raise TypeError(
            f"`estimator` is the class {estimator.__name__}, but must be an estimator: call it "
            f"with its options, `{estimator.__name__}()`."
        )
    if batch_size is not None:
        check_count("batch_size", batch_size)
        if num_examples % batch_size:
            raise ValueError(
                f"`batch_size` is {batch_size}, but must divide `num_examples`, which is "
                f"{num_examples}, because the criterion of a stream is a mean over its batch: "
                "choose a divisor."
            )


def cost_of(estimator: Estimator) -> float | None:
    """Returns the cost of a spectrum in gradient evaluations: a product with the matrix takes about
    the time of a gradient. What estimators other than `Lanczos` take is not known."""
    if not isinstance(estimator, Lanczos):
        return None
    # By default 100 products for each vector, or the dimension, which networks exceed.
    order = 100 if estimator.order is None else estimator.order
    return order * estimator.num_vectors


def spectrum_of_matrix(
    sampler: Sampler,
    matrix: Matrix,
    estimator: Estimator,
    *,
    batch_size: int | None,
    key: PRNGKeyArray,
) -> AbstractSpectrum:
    """Returns the spectrum of the matrix on the examples of the sampler."""
    forward_key, vector_key = jax.random.split(key)
    risk = sampler.risk(key=forward_key, batch_size=batch_size)
    return estimator(matrix(risk, sampler.learner.model), key=vector_key)
