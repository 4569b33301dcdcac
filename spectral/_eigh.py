"""Eigenpairs of symmetric matrices. On CPU a batch is decomposed one matrix at a time."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base._scaling import exponent_of, times_power


def eigh(matrix: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues in ascending order, and eigenvectors as columns. May be vmapped.

    The entries are first scaled to the order of 1 by a power of two, so the eigenvalues of 2^k A
    are 2^k times those of A to the bit, and the eigenvectors are the same.
    """
    exponent = exponent_of(matrix)
    values, vectors = _differentiable(times_power(matrix, -exponent))
    return times_power(values, exponent), vectors


def eigvalsh(matrix: Float[Array, "n n"]) -> Float[Array, " n"]:
    """Eigenvalues in ascending order, scaled as those of `eigh`."""
    exponent = exponent_of(matrix)
    return times_power(jnp.linalg.eigvalsh(times_power(matrix, -exponent)), exponent)


@jax.custom_jvp
def _differentiable(matrix: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    return _decomposed(matrix)


@_differentiable.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    values, vectors = _decomposed(*primals)
    dot = functools.partial(jnp.matmul, precision="highest")
    change = dot(dot(vectors.T, tangents[0]), vectors)
    one = jnp.eye(values.size, dtype=values.dtype)
    # Of equal eigenvalues the vectors have no derivative, and this is infinite.
    turn = change * (1 / (values[None] - values[:, None] + one) - one)
    return (values, vectors), (jnp.diagonal(change), dot(vectors, turn))


@jax.custom_batching.custom_vmap
def _decomposed(matrix: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues and eigenvectors by LAPACK or its counterpart.

    On CPU, JAX's LAPACK splits a batch among the threads of a pool and waits for them in one of
    those threads. Two programs that do this at the same time, one on each of two host devices,
    deadlock. A single matrix is decomposed in the calling thread.
    """
    values, vectors = jnp.linalg.eigh(matrix, symmetrize_input=False)
    return values, vectors


@_decomposed.def_vmap
def _of_many(axis_size: int, in_batched: list[bool], matrices: Any) -> Any:
    del axis_size, in_batched  # this rule is called only if the single argument is batched
    one_by_one = lambda m: jax.lax.map(_decomposed, m)
    together = lambda m: tuple(jnp.linalg.eigh(m, symmetrize_input=False))
    pairs = jax.lax.platform_dependent(matrices, cpu=one_by_one, default=together)
    return pairs, (True, True)
