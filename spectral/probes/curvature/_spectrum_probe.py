"""Probes that measure the spectrum of a matrix of curvature."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree

from ..._arguments import check_count
from ...curvature import AbstractOperator, AbstractSpectrum, Risk
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe


class AbstractSpectrumProbe(AbstractSamplingProbe):
    """A probe of the spectrum of a matrix of the stream's criterion.

    **Raises:** `ValueError` if `batch_size` does not divide `num_examples`; `TypeError` if
    `estimator` is a class.
    """

    if TYPE_CHECKING:
        # To a type checker an abstract variable is a field, which would be an argument.
        @property
        def matrix(self) -> Callable[[Risk, PyTree], AbstractOperator]: ...
        @property
        def estimator(self) -> Callable[..., AbstractSpectrum]: ...
        @property
        def batch_size(self) -> int | None: ...

    else:
        matrix: eqx.AbstractVar[Callable[[Risk, PyTree], AbstractOperator]]
        estimator: eqx.AbstractVar[Callable[..., AbstractSpectrum]]
        batch_size: eqx.AbstractVar[int | None]

    def __check_init__(self):
        if isinstance(self.estimator, type):
            name = self.estimator.__name__
            raise TypeError(
                f"`estimator` is the class {name}, but must be an estimator: call it with its "
                f"options, `{name}()`."
            )
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)
            if self.num_examples % self.batch_size:
                raise ValueError(
                    f"`batch_size` is {self.batch_size}, but must divide `num_examples`, which is "
                    f"{self.num_examples}, because the criterion of a stream is a mean over its "
                    "batch: choose a divisor."
                )

    def spectrum(self, sampler: Sampler, *, key: PRNGKeyArray) -> AbstractSpectrum:
        """Returns the spectrum of the matrix on the examples of the sampler."""
        forward_key, vector_key = jax.random.split(key)
        risk = sampler.risk(key=forward_key, batch_size=self.batch_size)
        return self.estimator(self.matrix(risk, sampler.learner.model), key=vector_key)
