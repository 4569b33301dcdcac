"""The inverse of KFAC with the damping divided between the factors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..operators._single_threaded import jit_single_threaded
from ._kronecker import AbstractKronecker
from ._layout import Layout
from .blocks._block import AbstractProducts
from .blocks._factor import Factor
from .blocks._factored import FactoredBlock
from .blocks._sum import SumBlock
from .blocks._transposed import TransposedBlock


class FactoredInverse(AbstractKronecker):
    """(B + beta I)^-1 kron (A + alpha I)^-1 for each layer, as `KFAC.factored_inverse` returns
    it."""

    blocks: tuple[AbstractProducts, ...]
    layout: Layout
    damping: Float[Array, ""]

    @property
    def rest(self) -> Float[Array, ""]:
        return 1 / self.damping


@jit_single_threaded
def factored_inverse(
    blocks: tuple[AbstractProducts, ...], layout: Layout, damping: Float[Array, ""]
) -> FactoredInverse:
    """The inverse of each block, with the damping divided between its factors."""
    with jax.default_matmul_precision("highest"):
        inverted = tuple(_inverted(block, damping) for block in blocks)
    return FactoredInverse(blocks=inverted, layout=layout, damping=damping)


def _inverted(block: AbstractProducts, damping: Float[Array, ""]) -> AbstractProducts:
    if isinstance(block, SumBlock):
        raise ValueError(block.unknown("inverse"))
    columns, rows = block.eigenvectors()
    is_transposed = isinstance(block, TransposedBlock)
    (a, u), (b, v) = (rows, columns) if is_transposed else (columns, rows)
    of_inputs, of_outputs = jnp.mean(a), jnp.mean(b)
    if a.size == 1:  # the block is a number times B, and its inverse has two factors
        alpha, beta = jnp.zeros_like(damping), damping / _or_one(of_inputs)
    elif b.size == 1:
        alpha, beta = damping / _or_one(of_outputs), jnp.zeros_like(damping)
    else:
        known = (of_inputs > 0) & (of_outputs > 0)
        # alpha beta = damping, and alpha / beta is the ratio of the mean eigenvalues. In this order
        # no product leaves the range of the dtype.
        ratio = jnp.where(known, of_inputs, 1)
        alpha = jnp.sqrt(damping / jnp.where(known, of_outputs, 1) * ratio)
        beta = damping / alpha
    inputs, outputs = _inverse_factor(a + alpha, u), _inverse_factor(b + beta, v)
    kind = TransposedBlock if is_transposed else FactoredBlock
    return kind(inputs=inputs, outputs=outputs, name=block.name, leaves=block.leaves)


def _inverse_factor(values: Float[Array, " size"], vectors: Array | None) -> Factor:
    return 1 / values if vectors is None else (vectors / values[None]) @ vectors.T


def _or_one(value: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.where(value > 0, value, 1)
