"""The spectrum of a matrix of the stream's criterion, as probes measure it."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PRNGKeyArray, PyTree

from ..._arguments import check_count
from ...curvature import AbstractOperator, AbstractSpectrum, Risk
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
