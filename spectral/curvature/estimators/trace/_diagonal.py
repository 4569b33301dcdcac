"""The diagonal of any matrix, from random products with it."""

from collections.abc import Callable
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray
from matfree import stochtrace

from ...._arguments import as_int
from ...._base._scaling import exponent_of, times_power
from ...operators._operator import AbstractOperator
from ...spectra._estimate import Estimate
from ._leave_one_out import leave_one_out
from ._random_products import AbstractRandomProducts


class HutchinsonDiagonal(AbstractRandomProducts):
    """Estimates a diagonal as the mean of v * A v over random signs v (Bekas et al. 2007).

    This takes `num_samples` products, one after the other, and memory of a few vectors in total.
    The standard error of an entry is the norm of the rest of its row over the root of
    `num_samples`.

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
    num_samples: int = eqx.field(static=True, default=100, converter=as_int)

    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        zeros = jnp.zeros(operator.dim, operator.dtype)
        product = operator.flat_product()

        def add(carry, count_and_key):
            mean, squares, exponent = carry
            count, key = count_and_key
            signs = jax.random.rademacher(key, zeros.shape, zeros.dtype)
            # Welford's update: in a sum of squares, digits would cancel.
            sample = signs * product(signs)
            change = sample - mean
            mean = mean + change / count
            # In units of 4^exponent, because squares may leave the range of the dtype. The first
            # sample sets the unit.
            exponent = jnp.where(count == 1, exponent_of(sample), exponent)
            change, left = times_power(change, -exponent), times_power(sample - mean, -exponent)
            return (mean, squares + change * left, exponent), None

        counts = jnp.arange(1, self.num_samples + 1, dtype=zeros.dtype)
        each = counts, jax.random.split(key, self.num_samples)
        first = zeros, zeros, jnp.asarray(0, jnp.int32)
        (mean, squares, exponent), _ = jax.lax.scan(add, first, each)
        sem = jnp.sqrt(squares / ((self.num_samples - 1) * self.num_samples))
        return Estimate(
            value=operator.unravel(mean), sem=operator.unravel(times_power(sem, exponent))
        )


class XDiagonal(AbstractRandomProducts):
    """Estimates the diagonal of any symmetric matrix by XDiag (Epperly, Tropp and Webber 2024).

    Like `XTrace`: exact on a low-rank approximation, random on the rest. This takes
    2 `num_samples` + 1 products, of which `num_samples` at a time run together, with memory of
    about 6 `num_samples` vectors and of `num_samples` passes through the network. The standard
    error is the heuristic one of `XTrace`. It is 0 if 2 `num_samples` reaches the dimension. The
    computation is matfree's.

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=20, converter=as_int)

    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        integrand = stochtrace.leave_one_out_xdiag()
        return _leave_one_out(operator, key, self.num_samples, integrand, rank=2 * self.num_samples)


class XNysDiagonal(AbstractRandomProducts):
    """Estimates the diagonal of a positive semi-definite matrix by XNysDiag (Epperly 2025).

    Like `XDiagonal`, but with a Nystrom approximation, which takes `num_samples` + 1 products. For
    a matrix with negative eigenvalues the estimate is wrong without any warning.

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=20, converter=as_int)

    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        integrand = stochtrace.leave_one_out_xnysdiag()
        return _leave_one_out(operator, key, self.num_samples, integrand, rank=self.num_samples)


def _leave_one_out(
    operator: AbstractOperator, key: PRNGKeyArray, num_samples: int, integrand: Callable, rank: int
) -> Estimate:
    diagonal = leave_one_out(
        operator,
        key,
        num_samples,
        integrand=integrand,
        exact=jnp.diagonal,
        rank=rank,
        in_turn=False,  # matfree transposes the product, which rules out running it in turn
    )
    return jax.tree.map(operator.unravel, diagonal)
