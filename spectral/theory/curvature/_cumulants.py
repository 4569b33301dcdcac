"""Equation (6): the error of a Kronecker factorisation as joint cumulants."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


Block = Float[Array, "inputs inputs outputs outputs"]


@jax.jit
def factorisation_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """Returns the error of equation (5) directly: E[x x^T (x) g g^T] - E[x x^T] (x) E[g g^T] for
    equally likely samples (x, g). Entry [i, j, k, l] belongs to x_i x_j g_k g_l."""
    whole = _mean("ni,nj,nk,nl->ijkl", inputs, inputs, gradients, gradients)
    a, b = _mean("ni,nj->ij", inputs, inputs), _mean("nk,nl->kl", gradients, gradients)
    return whole - jnp.einsum("ij,kl->ijkl", a, b)


def cumulant_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """Equation (6) with the right signs: chi(x, x, g, g) + E[x] chi(x, g, g) + E[x] chi(x, g, g).

    This is the `factorisation_error` in joint cumulants. Its hypothesis is E[g | x] = 0, which
    holds if targets are drawn from the predictions of the network. So it applies to the exact and
    the sampled Fisher factors, but not to the empirical ones, whose gradients are those at the
    labels. The columns s of an `Exact()` factor become samples with this property as +s and -s,
    each multiplied by the square root of the number of columns.

    **Raises:** `ValueError` if the hypothesis fails: samples with equal inputs must have gradients
    that sum to 0.
    """
    fourth, first, second = error_terms(inputs, gradients)
    return fourth + first + second


def error_terms(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> tuple[Block, Block, Block]:
    """The three terms of equation (6) without their signs: chi(x, x, g, g), and E[x] chi(x, g, g)
    with the mean of the first and of the second input.

    **Raises:** `ValueError` as `cumulant_error`.
    """
    _check_centred(inputs, gradients)
    return _error_terms(inputs, gradients)


@jax.jit
def _error_terms(inputs: Array, gradients: Array) -> tuple[Block, Block, Block]:
    mean = jnp.mean(inputs, axis=0)
    x, g = inputs - mean[None], gradients - jnp.mean(gradients, axis=0)[None]
    xx, xg, gg = _mean("ni,nj->ij", x, x), _mean("ni,nk->ik", x, g), _mean("nk,nl->kl", g, g)
    fourth = _mean("ni,nj,nk,nl->ijkl", x, x, g, g)
    # The cumulant of centred variables is the moment minus the three products of pairs.
    fourth = fourth - jnp.einsum("ij,kl->ijkl", xx, gg)
    fourth = fourth - jnp.einsum("ik,jl->ijkl", xg, xg) - jnp.einsum("il,jk->ijkl", xg, xg)
    third = _mean("ni,nk,nl->ikl", x, g, g)
    first = jnp.einsum("i,jkl->ijkl", mean, third)
    return fourth, first, jnp.einsum("j,ikl->ijkl", mean, third)


def _mean(pattern: str, *arrays: Array) -> Array:
    return jnp.einsum(pattern, *arrays, precision="highest") / arrays[0].shape[0]


def _check_centred(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> None:
    _, group = np.unique(np.asarray(inputs), axis=0, return_inverse=True)
    same = (group.reshape(-1)[:, None] == group.reshape(-1)[None]).astype(np.float64)
    g = np.asarray(gradients, np.float64)
    limit = 100 * jnp.finfo(gradients.dtype).eps
    if np.any(np.abs(same @ g) > limit * (same @ np.abs(g))):
        raise ValueError(
            "Equation (6) has the hypothesis E[g | x] = 0, but the `gradients` of samples with "
            "equal `inputs` do not sum to 0: take gradients at targets drawn from the network's "
            "predictions (all of them, or each with +g and -g), and not at the labels."
        )
