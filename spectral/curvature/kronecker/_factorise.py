"""The Kronecker factors of every layer of a network."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._precision import in_single
from ..operators._output_factor import AbstractOutputFactor
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ._sharing import AbstractSharing
from .blocks._block import AbstractProducts
from .blocks._factored import FactoredBlock
from .blocks._sum import SumBlock
from .blocks._transposed import TransposedBlock
from .capture._capture import capture, Records
from .capture._find import find_layers
from .capture._layer import Layer
from .capture._records import AbstractRecord, LookedUp
from .capture._separate import separate_records, separated


@eqx.filter_jit
def factorise(
    risk: Risk,
    params: PyTree,
    factor: AbstractOutputFactor,
    sharing: AbstractSharing,
    separate_bias: bool,
) -> tuple[AbstractProducts, ...]:
    """The Kronecker factors of every layer, accumulated over the batches of the risk."""
    layers = find_layers(risk, params)

    def recorded(batch: ExampleBatch) -> list[tuple[Layer, Records]]:
        return pulled_back(risk, params, layers, factor, batch, separate_bias=separate_bias)

    with jax.default_matmul_precision("highest"):
        return factors(risk, recorded, separated_if(layers, separate_bias), sharing)


def factors(
    risk: Risk,
    recorded: Callable[[ExampleBatch], list[tuple[Layer, Records]]],
    layers: tuple[Layer, ...],
    sharing: AbstractSharing,
) -> tuple[AbstractProducts, ...]:
    """The Kronecker factors from the records of each batch, one block for each layer."""

    def sums(batch: ExampleBatch) -> list[list[AbstractProducts]]:
        found = recorded(batch)
        return [[_sums(layer, record, sharing, batch) for record in own] for layer, own in found]

    blocks = risk.accumulate(sums)
    combined = []
    for layer, own in zip(layers, blocks, strict=True):
        names: Any = {"name": layer.name, "leaves": layer.leaves}
        combined.append(own[0] if len(own) == 1 else SumBlock(terms=tuple(own), **names))
    return tuple(combined)


def pulled_back(
    risk: Risk,
    params: PyTree,
    layers: tuple[Layer, ...],
    factor: AbstractOutputFactor,
    batch: ExampleBatch,
    *,
    separate_bias: bool = False,
) -> list[tuple[Layer, Records]]:
    """The records of each layer when the columns of the output factor are pulled back."""
    outputs, recorded = capture(risk, params, layers, batch)
    columns = factor.columns(risk.loss, outputs, batch.targets, batch.indices)
    records = recorded(columns)
    if separate_bias:
        records = separate_records(layers, records)
    return list(zip(separated_if(layers, separate_bias), records, strict=True))


def separated_if(layers: tuple[Layer, ...], separate_bias: bool) -> tuple[Layer, ...]:
    """The layers, or a layer for each of their arrays."""
    return separated(layers) if separate_bias else layers


def _sums(
    layer: Layer, record: AbstractRecord, sharing: AbstractSharing, batch: ExampleBatch
) -> AbstractProducts:
    """The contribution of the examples of one batch to A and B."""
    if not layer.calls:
        return _exact(layer, record, batch)
    record = sharing.shared(record)
    num_positions = record.gradients.shape[2]
    weights = batch.weights[None, :, None, None]
    b = second_moment(record.gradients, weights / num_positions)
    if isinstance(record, LookedUp):
        counts = jnp.zeros(record.num_tokens, b.dtype)
        of_tokens = jnp.broadcast_to(batch.fractions[:, None], record.tokens.shape)
        counts = counts.at[record.tokens].add(of_tokens.astype(b.dtype))
        return TransposedBlock(inputs=counts, outputs=b, name=layer.name, leaves=layer.leaves)
    dense = record.dense
    a = second_moment(dense.inputs, batch.fractions[:, None, None])
    kind = TransposedBlock if dense.transposed else FactoredBlock
    return kind(inputs=a, outputs=b, name=layer.name, leaves=layer.leaves)


def _exact(layer: Layer, record: AbstractRecord, batch: ExampleBatch) -> AbstractProducts:
    """The exact block of a single row of weights, or the diagonal of a large one."""
    weights = batch.weights[None, :, None, None]
    once = jnp.sum(batch.fractions, keepdims=True)[:, None]
    if layer.dense:
        block = second_moment(record.gradients, weights)
        one = once.astype(block.dtype)
        return FactoredBlock(inputs=block, outputs=one, name=layer.name, leaves=layer.leaves)
    wide = in_single(record.gradients)
    diagonal = jnp.sum(wide**2 * weights.astype(wide.dtype), axis=(0, 1, 2))
    one = once.astype(wide.dtype)
    return TransposedBlock(inputs=diagonal, outputs=one, name=layer.name, leaves=layer.leaves)


def second_moment(
    rows: Float[Array, "*axes entries"], weights: Float[Array, "..."]
) -> Float[Array, "entries entries"]:
    """The weighted sum of the outer products of rows with themselves, in float32 or wider."""
    wide = in_single(rows)
    flat = (wide * jnp.sqrt(weights).astype(wide.dtype)).reshape(-1, rows.shape[-1])
    return flat.T @ flat
