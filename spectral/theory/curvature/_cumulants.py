"""Equation (6): the error of a Kronecker factorisation as joint cumulants."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


Block = Float[Array, "inputs inputs outputs outputs"]


def factorisation_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """E[x x^T (x) g g^T] - E[x x^T] (x) E[g g^T] for equally likely samples (x, g): the error of
    equation (5), directly. Entry [i, j, k, l] belongs to x_i x_j g_k g_l."""
    whole = _mean("ni,nj,nk,nl->ijkl", inputs, inputs, gradients, gradients)
    a, b = _mean("ni,nj->ij", inputs, inputs), _mean("nk,nl->kl", gradients, gradients)
    return whole - jnp.einsum("ij,kl->ijkl", a, b)


def cumulant_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """Equation (6) with the right signs: chi(x, x, g, g) + E[x] chi(x, g, g) + E[x] chi(x, g, g).

    The `factorisation_error` in joint cumulants. It has the hypothesis E[g | x] = 0, which holds
    where targets are drawn from the predictions of the network: for the exact and the sampled
    Fisher factors, and not for the empirical ones, whose gradients are those at the labels. The
    columns s of an `Exact()` factor become samples with this property as +s and -s, times the root
    of their number.

    **Raises:** `ValueError` where the hypothesis fails: samples of equal inputs must have gradients
    that sum to 0.
    """
    check_centred(inputs, gradients)
    fourth, third, mean = cumulants(inputs, gradients)
    first = jnp.einsum("i,jkl->ijkl", mean, third)
    second = jnp.einsum("j,ikl->ijkl", mean, third)
    return fourth + first + second


def cumulants(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> tuple[Block, Float[Array, "inputs outputs outputs"], Float[Array, " inputs"]]:
    """chi(x, x, g, g), chi(x, g, g) and E[x], of any samples."""
    mean = jnp.mean(inputs, axis=0)
    x, g = inputs - mean[None], gradients - jnp.mean(gradients, axis=0)[None]
    xx, xg, gg = _mean("ni,nj->ij", x, x), _mean("ni,nk->ik", x, g), _mean("nk,nl->kl", g, g)
    fourth = _mean("ni,nj,nk,nl->ijkl", x, x, g, g)
    # Of centred variables the cumulant is the moment less the three products of pairs.
    fourth = fourth - jnp.einsum("ij,kl->ijkl", xx, gg)
    fourth = fourth - jnp.einsum("ik,jl->ijkl", xg, xg) - jnp.einsum("il,jk->ijkl", xg, xg)
    return fourth, _mean("ni,nk,nl->ikl", x, g, g), mean


def _mean(pattern: str, *arrays: Array) -> Array:
    return jnp.einsum(pattern, *arrays, precision="highest") / arrays[0].shape[0]


def check_centred(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> None:
    _, group = np.unique(np.asarray(inputs), axis=0, return_inverse=True)
    same = (group.reshape(-1)[:, None] == group.reshape(-1)[None]).astype(np.float64)
    g = np.asarray(gradients, np.float64)
    limit = 100 * jnp.finfo(gradients.dtype).eps
    if np.any(np.abs(same @ g) > limit * (same @ np.abs(g))):
        raise ValueError(
            "Equation (6) has the hypothesis E[g | x] = 0, but the `gradients` of samples with "
            "equal `inputs` do not sum to 0: take gradients at targets that are drawn from the "
            "network's predictions, all of them or +g and -g, and not those at the labels."
        )
