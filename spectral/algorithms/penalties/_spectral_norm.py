"""Spectral regularisation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import as_int, check_count
from ..._base._scaling import exponent_of, norm, times_power
from ..._types import Signal, Step
from .._base._after_reset import where_reset
from .._base._arguments import as_non_negative, Number
from .._base._protocols import AbstractPenalty


_Arrays = tuple[Float[Array, "..."], ...]
# Enough for the largest singular value of a random matrix. Later rounds start from the last result.
_FIRST_ITERATIONS = 100


class SpectralNormState(eqx.Module):
    """The state of the power iterations, and the initial biases and scales."""

    directions: _Arrays  # for each matrix the right singular vector, of norm one
    vectors: _Arrays  # the initial values of the parameters that are not matrices


class SpectralNorm(AbstractPenalty[SpectralNormState]):
    """strength times [sum over matrices of (sigma^k - 1)^2 + sum over vectors of ||b - b_0||^2].

    Lewandowski et al., *Learning Continually by Spectral Regularization* (2024), with k = 2: the
    largest singular value sigma of every weight matrix is pulled to 1. The kernel of a convolution
    counts as a matrix [channels out, channels in x positions]. All other parameters are pulled to
    their initial values b_0, which are zero for biases and one for the scales of norm layers.

    sigma is ||W v||. v comes from a power iteration that takes one round at every step, starting
    from the last v. The gradient treats v as constant, which gives the gradient of sigma once v has
    converged.
    """

    strength: Float[Array, ""]
    power: int = eqx.field(static=True, converter=as_int)

    def __init__(self, strength: Number, *, power: int = 2):
        """**Raises:** `ValueError` for a negative strength or a power below one."""
        self.strength = as_non_negative("strength", strength)
        check_count("power", power)
        self.power = power

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> SpectralNormState:
        matrices, vectors = _split(model)
        directions = []
        for i, matrix in enumerate(matrices):
            v = jax.random.normal(jax.random.fold_in(key, i), matrix.shape[1:], matrix.dtype)
            one_round = lambda _, v, matrix=matrix: _iterated(matrix, v)
            directions.append(jax.lax.fori_loop(0, _FIRST_ITERATIONS, one_round, _unit(v)))
        return SpectralNormState(tuple(directions), vectors)

    def value(self, model: PyTree, state: SpectralNormState, step: Step) -> Float[Array, ""]:
        matrices, vectors = _split(model)
        total = jnp.zeros(())
        for matrix, v in zip(matrices, state.directions, strict=True):
            image = matrix @ v
            exponent = exponent_of(image)
            square = jnp.sum(times_power(image, -exponent) ** 2)
            # An odd power has no derivative at sigma = 0; take zero there.
            sigma = jnp.where(square > 0, square, 1) ** (self.power / 2)
            sigma = times_power(jnp.where(square > 0, sigma, 0), self.power * exponent)
            total += (sigma - 1) ** 2
        for vector, first in zip(vectors, state.vectors, strict=True):
            total += jnp.sum((vector - first) ** 2)
        return self.strength * total

    def update(
        self, model: PyTree, state: SpectralNormState, signal: Signal, *, key: PRNGKeyArray
    ) -> SpectralNormState:
        matrices, _ = _split(model)
        directions = map(_iterated, matrices, state.directions)
        return SpectralNormState(tuple(directions), state.vectors)

    def after_reset(
        self, model: PyTree, state: SpectralNormState, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> SpectralNormState:
        params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        marked = list(zip(params, jax.tree.leaves(reset), strict=True))
        matrices = [mark for p, mark in marked if p.ndim > 1]
        vectors = [mark for p, mark in marked if p.ndim < 2]
        new = self.init(model, key=key)
        return SpectralNormState(
            where_reset(matrices, new.directions, state.directions),
            where_reset(vectors, new.vectors, state.vectors),
        )


def _split(model: PyTree) -> tuple[_Arrays, _Arrays]:
    """The parameters with at least two axes, as matrices, and all other parameters."""
    params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    matrices = tuple(p.reshape(p.shape[0], -1) for p in params if p.ndim > 1)
    return matrices, tuple(p for p in params if p.ndim < 2)


def _iterated(matrix: Float[Array, "m n"], v: Float[Array, " n"]) -> Float[Array, " n"]:
    """One round of the power iteration. If the matrix maps `v` to zero, `v` is returned."""
    image = _unit(matrix @ v) @ matrix
    return jnp.where(jnp.any(image != 0), _unit(image), v)


def _unit(v: Float[Array, " n"]) -> Float[Array, " n"]:
    size = norm(v)
    return v / jnp.where(size > 0, size, 1)
