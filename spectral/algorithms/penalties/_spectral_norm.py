"""Spectral regularisation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above, check_count
from .._base._algorithm import AbstractPenalty


_Directions = tuple[Float[Array, "..."], ...]
# Enough for the largest singular value of a random matrix; later steps begin where these ended.
_FIRST_ITERATIONS = 100


class SpectralNormState(eqx.Module):
    directions: _Directions  # for each matrix, its right singular vector, of norm one
    vectors: _Directions  # the parameters that are not matrices, at the beginning


class SpectralNorm(AbstractPenalty[SpectralNormState]):
    """strength times [sum over matrices of (sigma^k - 1)^2 + sum over vectors of ||b - b_0||^2].

    Lewandowski et al., *Learning Continually by Spectral Regularization* (2024), with k = 2: the
    largest singular value sigma of every weight matrix is drawn to 1. Kernels of convolutions count
    as matrices [channels out, channels in x positions]. What is not a matrix is drawn to its
    initial value, which is zero for the biases and one for the scales of norm layers.

    sigma is ||W v||, with v from a power iteration that takes one round at every step and starts
    where the last one ended; v is held fixed in the gradient, which then is that of sigma itself
    once v has converged.
    """

    strength: Float[Array, ""]
    power: int = eqx.field(static=True)

    def __init__(self, strength: float | Float[Array, ""], *, power: int = 2):
        """**Raises:** `ValueError` for a negative strength or a power below one."""
        check_above("strength", strength, 0, strict=False)
        check_count("power", power)
        self.strength = jnp.asarray(strength, dtype=float)
        self.power = power

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> SpectralNormState:
        matrices, vectors = _split(model)
        directions = []
        for i, matrix in enumerate(matrices):
            v = jax.random.normal(jax.random.fold_in(key, i), matrix.shape[1:], matrix.dtype)
            turn = lambda _, v, matrix=matrix: _turned(matrix, v)
            directions.append(jax.lax.fori_loop(0, _FIRST_ITERATIONS, turn, _unit(v)))
        return SpectralNormState(tuple(directions), vectors)

    def value(self, model: PyTree, state: SpectralNormState) -> Float[Array, ""]:
        matrices, vectors = _split(model)
        total = jnp.zeros(())
        for matrix, v in zip(matrices, state.directions, strict=True):
            square = jnp.sum((matrix @ v) ** 2)
            # Odd powers have no derivative where sigma is zero; there it is taken as zero.
            sigma = jnp.where(square > 0, square, 1) ** (self.power / 2)
            total += (jnp.where(square > 0, sigma, 0) - 1) ** 2
        for vector, first in zip(vectors, state.vectors, strict=True):
            total += jnp.sum((vector - first) ** 2)
        return self.strength * total

    def update(
        self, model: PyTree, state: SpectralNormState, *, key: PRNGKeyArray
    ) -> SpectralNormState:
        matrices, _ = _split(model)
        directions = map(_turned, matrices, state.directions)
        return SpectralNormState(tuple(directions), state.vectors)


def _split(model: PyTree) -> tuple[_Directions, _Directions]:
    """The parameters with at least two axes, as matrices, and all others."""
    params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    matrices = tuple(p.reshape(p.shape[0], -1) for p in params if p.ndim > 1)
    return matrices, tuple(p for p in params if p.ndim < 2)


def _turned(matrix: Float[Array, "m n"], v: Float[Array, " n"]) -> Float[Array, " n"]:
    """One round of the power iteration; a direction that the matrix sends to zero stays."""
    image = _unit(matrix @ v) @ matrix
    return jnp.where(jnp.any(image != 0), _unit(image), v)


def _unit(v: Float[Array, " n"]) -> Float[Array, " n"]:
    size = jnp.linalg.norm(v)
    return v / jnp.where(size > 0, size, 1)
