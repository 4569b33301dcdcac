"""Estimators that take products of a matrix with random vectors."""

from abc import abstractmethod

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray

from ...._arguments import check_count
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from ...spectra._estimate import Estimate


class AbstractRandomProducts(eqx.Module):
    """An estimator of a trace or a diagonal from products with `num_samples` random vectors."""

    num_samples: eqx.AbstractVar[int]

    def __check_init__(self):
        check_count("num_samples", self.num_samples, minimum=2)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Estimate:
        """Estimates the trace, in the units of an eigenvalue, or the diagonal, like the vectors of
        `operator`."""
        return _run(self, operator, key)

    @abstractmethod
    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        """The computation of `__call__`, which compiles it and runs it in full precision."""


@jit_single_threaded
def _run(
    estimator: AbstractRandomProducts, operator: AbstractOperator, key: PRNGKeyArray
) -> Estimate:
    with jax.default_matmul_precision("highest"):
        return estimator.estimate(operator, key)
