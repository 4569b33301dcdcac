"""The diagonal of any matrix, from random products with it."""

from collections.abc import Callable
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray
from matfree import stochtrace

from ...._arguments import check_count
from ...operators._operator import AbstractOperator
from ...spectra._estimate import Estimate, standard_error
from ._trace import run_blocking, sphere_samples, unit_product


class HutchinsonDiagonal(eqx.Module):
    """Estimate a diagonal as the mean of v * A v over random vectors of signs (Bekas et al. 2007).

    Takes `num_samples` products, one after the other, and memory of a few vectors in all. The
    standard error of an entry is that of the rest of its row over the root of `num_samples`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Hessian, HutchinsonDiagonal

    hessian = Hessian(lambda p: jnp.sum(jnp.sin(p["w"])) ** 2, {"w": jnp.arange(50.0)})
    diagonal = HutchinsonDiagonal(num_samples=20)(hessian, key=jax.random.key(0))
    diagonal.value["w"], diagonal.sem["w"]  # [50], [50]
    ```

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        check_count("num_samples", self.num_samples, minimum=2)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Estimate:
        """The diagonal of `operator`, and its standard errors, like a vector it acts on."""
        return run_blocking(_hutchinson, self.num_samples, operator, key)


class XDiagonal(eqx.Module):
    """Estimate the diagonal of any symmetric matrix by XDiag (Epperly, Tropp and Webber 2024).

    As `XTrace`: exact on a low-rank approximation, random on the rest. Takes 2 `num_samples` + 1
    products, all of one kind at once: memory of about 6 `num_samples` vectors and of `num_samples`
    passes through the network. The standard error is the heuristic one of `XTrace`, and 0 where 2
    `num_samples` reaches the dimension. The computation is matfree's.

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        check_count("num_samples", self.num_samples, minimum=2)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Estimate:
        """The diagonal of `operator`, and its standard errors, like a vector it acts on."""
        if 2 * self.num_samples >= operator.dim:
            return run_blocking(_exact_diagonal, operator)
        return run_blocking(
            _leave_one_out, stochtrace.leave_one_out_xdiag, self.num_samples, operator, key
        )


class XNysDiagonal(eqx.Module):
    """Estimate the diagonal of a positive semi-definite matrix by XNysDiag (Epperly 2025).

    As `XDiagonal` with a Nystrom approximation, which takes `num_samples` + 1 products. For a
    matrix with negative eigenvalues the estimate is wrong and nothing tells.

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        check_count("num_samples", self.num_samples, minimum=2)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Estimate:
        """The diagonal of `operator`, and its standard errors, like a vector it acts on."""
        if self.num_samples >= operator.dim:
            return run_blocking(_exact_diagonal, operator)
        return run_blocking(
            _leave_one_out, stochtrace.leave_one_out_xnysdiag, self.num_samples, operator, key
        )


@eqx.filter_jit
def _hutchinson(num_samples: int, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
    zeros = jnp.zeros(operator.dim, operator.dtype)
    with jax.default_matmul_precision("highest"):
        product = operator.flat_product()

        def add(carry, number_and_key):
            mean, squares = carry
            number, key = number_and_key
            signs = jax.random.rademacher(key, zeros.shape, zeros.dtype)
            # Welford's update: a sum of squares would cancel.
            sample = signs * product(signs)
            change = sample - mean
            mean = mean + change / number
            return (mean, squares + change * (sample - mean)), None

        numbers = jnp.arange(1, num_samples + 1, dtype=zeros.dtype)
        each = numbers, jax.random.split(key, num_samples)
        (mean, squares), _ = jax.lax.scan(add, (zeros, zeros), each)
    sem = jnp.sqrt(squares / ((num_samples - 1) * num_samples))
    return Estimate(value=operator.unravel(mean), sem=operator.unravel(sem))


@eqx.filter_jit
def _leave_one_out(
    integrand: Callable, num_samples: int, operator: AbstractOperator, key: PRNGKeyArray
) -> Estimate:
    key, scale_key = jax.random.split(key)
    # matfree's arrays differ in rank, which may be forbidden outside.
    with jax.default_matmul_precision("highest"), jax.numpy_rank_promotion("allow"):
        # matfree transposes the product, which a batch taken in turn cannot be.
        product, scale = unit_product(operator, scale_key)
        diagonals = scale * integrand()(product, sphere_samples(operator, num_samples, key))
    mean, sem = jnp.mean(diagonals, axis=0), standard_error(diagonals)
    return Estimate(value=operator.unravel(mean), sem=operator.unravel(sem))


@eqx.filter_jit
def _exact_diagonal(operator: AbstractOperator) -> Estimate:
    with jax.default_matmul_precision("highest"):
        diagonal = jnp.diagonal(operator.dense())
    sem = jnp.zeros_like(diagonal)
    return Estimate(value=operator.unravel(diagonal), sem=operator.unravel(sem))
