"""Eigenpairs of symmetric matrices, of many of them one after the other on CPU."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_batching.custom_vmap
def eigh(matrix: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues in ascending order, and eigenvectors as columns; may be vmapped.

    JAX's LAPACK on CPU shares a batch among the threads of a pool, and waits for them in one of
    those threads. Two programs that do so at the same time, one for each of two host devices, wait
    for ever; a single matrix is decomposed where the call is made.
    """
    values, vectors = jnp.linalg.eigh(matrix, symmetrize_input=False)
    return values, vectors


@eigh.def_vmap
def _of_many(axis_size: int, in_batched: list[bool], matrices: Any) -> Any:
    del axis_size, in_batched  # the one argument is batched, or this would not be called
    one_by_one = lambda m: jax.lax.map(eigh, m)
    together = lambda m: tuple(jnp.linalg.eigh(m, symmetrize_input=False))
    pairs = jax.lax.platform_dependent(matrices, cpu=one_by_one, default=together)
    return pairs, (True, True)
