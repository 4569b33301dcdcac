"""The Kronecker factors of every layer of a network."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._precision import in_single
from ..operators._output_factor import AbstractOutputFactor
from ..risk._risk import ExampleBatch, Risk
from ._blocks import FactoredBlock
from ._capture import capture, find_layers, Layer, Recorded
from ._separate import separate_records, separated
from ._sharing import AbstractSharing


@eqx.filter_jit
def factorise(
    risk: Risk,
    params: PyTree,
    factor: AbstractOutputFactor,
    sharing: AbstractSharing,
    separate_bias: bool,
) -> tuple[FactoredBlock, ...]:
    """The Kronecker factors of every layer, accumulated over the batches of the risk."""
    layers = find_layers(risk, params)

    def sums(batch: ExampleBatch) -> list[tuple[Array, Array]]:
        found = pulled_back(risk, params, layers, factor, batch, separate_bias=separate_bias)
        return [_sums(layer, sharing.shared(recorded), batch) for layer, recorded in found]

    with jax.default_matmul_precision("highest"):
        factors = risk.accumulate(sums)
    return tuple(
        FactoredBlock(inputs=a, outputs=b, name=layer.name, leaves=layer.leaves)
        for layer, (a, b) in zip(_blocks_of(layers, separate_bias), factors, strict=True)
    )


def pulled_back(
    risk: Risk,
    params: PyTree,
    layers: tuple[Layer, ...],
    factor: AbstractOutputFactor,
    batch: ExampleBatch,
    *,
    separate_bias: bool = False,
) -> list[tuple[Layer, Recorded]]:
    """The record of each layer when the columns of the output factor are pulled back."""
    outputs, recorded = capture(risk, params, layers, batch)
    columns = factor.columns(risk.loss, outputs, batch.targets, batch.indices)
    records = recorded(columns)
    if separate_bias:
        records = separate_records(layers, records)
    return list(zip(_blocks_of(layers, separate_bias), records, strict=True))


def _blocks_of(layers: tuple[Layer, ...], separate_bias: bool) -> tuple[Layer, ...]:
    return separated(layers) if separate_bias else layers


def _sums(layer: Layer, recorded: Recorded, batch: ExampleBatch) -> tuple[Array, Array]:
    """The contribution of the examples of one batch to A and B."""
    of_inputs = batch.fractions[:, None, None]
    of_gradients = batch.weights[None, :, None, None]
    if not layer.calls:  # a single row of weights: the block is exact
        block = second_moment(recorded.gradients, of_gradients)
        return block, jnp.sum(batch.fractions, keepdims=True)[:, None].astype(block.dtype)
    num_positions = recorded.inputs.shape[1]
    a = second_moment(recorded.inputs, of_inputs)
    return a, second_moment(recorded.gradients, of_gradients / num_positions)


def second_moment(
    rows: Float[Array, "*axes entries"], weights: Float[Array, "..."]
) -> Float[Array, "entries entries"]:
    """The weighted sum of the outer products of rows with themselves, in float32 or wider."""
    wide = in_single(rows)
    flat = (wide * jnp.sqrt(weights).astype(wide.dtype)).reshape(-1, rows.shape[-1])
    return flat.T @ flat
