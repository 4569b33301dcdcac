"""Low-rank approximation from random products, with each vector left out once, by matfree."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from matfree import stochtrace

from ...._base._scaling import norm as norm_of
from ...operators._operator import AbstractOperator
from ...spectra._estimate import Estimate, standard_error
from .._derivative import no_derivative


Product = Callable[[Float[Array, " dim"]], Float[Array, " dim"]]


def leave_one_out(
    operator: AbstractOperator,
    key: PRNGKeyArray,
    num_samples: int,
    *,
    integrand: Callable,
    exact: Callable[[Array], Array],
    rank: int,
    in_turn: bool,
) -> Estimate:
    """The mean and the heuristic standard error of `num_samples` dependent estimates.

    **Arguments:**

    - `integrand`: an estimator of matfree, which approximates the matrix with rank `rank`.
    - `exact`: the same quantity of a dense matrix. It is used if `rank` reaches the dimension.
    - `in_turn`: take the products one after the other, in the memory of one.
    """
    if rank >= operator.dim:
        value = exact(operator.dense())
        return Estimate(value=value, sem=jnp.zeros_like(value))
    key, scale_key = jax.random.split(key)
    # matfree's arrays differ in rank, which the caller may have forbidden.
    with jax.numpy_rank_promotion("allow"):
        product, scale = _unit_product(operator, scale_key)
        vectors = _sphere_samples(operator, num_samples, key)
        product = _one_at_a_time(product, vectors[0]) if in_turn else product
        samples = scale * integrand(product, vectors)
    return Estimate(value=jnp.mean(samples, axis=0), sem=standard_error(samples))


def _sphere_samples(
    operator: AbstractOperator, num_samples: int, key: PRNGKeyArray
) -> Float[Array, "samples dim"]:
    """Independent vectors, uniform on the sphere of radius sqrt(dim)."""
    like = jnp.zeros(operator.dim, operator.dtype)
    return stochtrace.sampler_sphere(like, num=num_samples)(key)


def _unit_product(
    operator: AbstractOperator, key: PRNGKeyArray
) -> tuple[Product, Float[Array, ""]]:
    """Products with the matrix scaled to a Frobenius norm of about 1, and the scale.

    matfree detects low rank by an absolute comparison with eps, so all eigenvalues near 1e-7 would
    count as 0. A matrix of zeros, whose Nystrom approximation is NaN, is replaced by the identity
    with a scale of 0.
    """
    product = operator.flat_product()
    norm = norm_of(product(_sphere_samples(operator, 1, key)[0]))
    divisor = jnp.where(norm == 0, 1, norm)
    return lambda v: jnp.where(norm == 0, v, product(v) / divisor), norm


def _one_at_a_time(product: Product, like: Float[Array, " dim"]) -> Product:
    """The same product. Under `vmap` the products run one after the other, to save memory."""
    # The values that the product closes over may be batched too, so they must be arguments.
    closed = eqx.filter_closure_convert(product, like)
    arrays, rest = eqx.partition(closed, eqx.is_array)

    @jax.custom_batching.sequential_vmap
    def one(arrays: PyTree, vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return no_derivative(eqx.combine(arrays, rest)(vector))

    return lambda vector: one(arrays, vector)
