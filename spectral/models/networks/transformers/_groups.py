"""The units of a transformer."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from ...layers._initialisers import AbstractInitialiser
from ...layers.activations._activation import AbstractActivation, Elementwise
from ...layers.activations._silent import silent_below_zero
from ...layers.attention._norms import Norm
from ...units._entries import Draw, Entries
from ...units._of_layer import unit_group
from ...units._unit_group import UnitGroup
from ._block import TransformerBlock
from ._transformer import AbstractTransformer


_Place = Callable[[Any], Any]


def transformer_groups(
    model: AbstractTransformer,
    incoming: tuple[Entries, ...],
    bias: tuple[Entries, ...],
    *,
    pooled: bool,
) -> tuple[UnitGroup, ...]:
    """Returns the groups of units of a transformer, named as in the taps.

    - `embedding`, `block_0`, ..., `features`: the channels of the residual stream. They are not
      replaceable, because every later layer reads them. The group of a block has the matrices and
      biases by which the block adds to the stream, and the norms by which it reads the stream.
      `incoming` and `bias` are those that embed the inputs. The features have the last norm. They
      are `pooled` if there is one vector of them for all tokens.
    - `block_0_heads`, ...: one unit per key and value head, with the query heads that share it. It
      has their rows of the three projections, and their columns of the output projection.
    - `block_0_mlp`, ...: the hidden units of the block. With a gate, each has two rows of incoming
      weights.
    """
    width = model.blocks[0].attention.output_proj.weight.shape[0]
    if _has_weight(model.positions):
        incoming += (Entries(lambda m: m.positions.weight, 1),)
    found = [_stream(model, "embedding", width, incoming, bias, ())]
    for i, block in enumerate(model.blocks):
        where = lambda m, i=i: m.blocks[i]
        found += [_heads(model, f"block_{i}", where), _hidden(model, f"block_{i}", where)]
        writers = (
            lambda m, where=where: where(m).attention.output_proj,
            lambda m, where=where: where(m).mlp.down,
        )
        norms = (
            lambda m, where=where: where(m).attention_norm,
            lambda m, where=where: where(m).mlp_norm,
        )
        weights = tuple(map(_weight, writers))
        biases = () if block.mlp.down.bias is None else tuple(map(_bias, writers))
        found.append(_stream(model, f"block_{i}", width, weights, biases, norms))
    features = _stream(model, "features", width, (), (), (lambda m: m.norm,))
    return (*found, dataclasses.replace(features, tokens=not pooled))


def _stream(
    model: AbstractTransformer,
    name: str,
    width: int,
    incoming: tuple[Entries, ...],
    bias: tuple[Entries, ...],
    norms: tuple[_Place, ...],
) -> UnitGroup:
    initialiser = model.initialiser
    shifted = all(norm(model).bias is not None for norm in norms)
    return UnitGroup(
        name=name,
        size=width,
        incoming=incoming,
        bias=bias,
        outgoing=(),
        draw=lambda key, shape: initialiser(key, shape)[0],
        scale=tuple(map(_weight, norms)),
        shift=tuple(map(_bias, norms)) if shifted else (),
        tokens=True,
        never_dead="the channels of a residual stream are sums, which are not 0",
    )


def _heads(
    model: AbstractTransformer, name: str, where: Callable[[Any], TransformerBlock]
) -> UnitGroup:
    attention = where(model).attention
    per_unit = attention.output_proj.weight.shape[1] // attention.num_kv_heads
    head_width = attention.key_proj.weight.shape[0] // attention.num_kv_heads
    projections: tuple[tuple[_Place, int], ...] = (
        (lambda m: where(m).attention.query_proj, per_unit),
        (lambda m: where(m).attention.key_proj, head_width),
        (lambda m: where(m).attention.value_proj, head_width),
    )
    output = lambda m: where(m).attention.output_proj
    has_bias = attention.query_proj.bias is not None
    return UnitGroup(
        name=f"{name}_heads",
        size=attention.num_kv_heads,
        incoming=tuple(
            Entries(
                lambda m, at=at: at(m).weight,
                0,
                repeat=rows,
                draw=_rows(model.initialiser, at(model).weight.shape[0]),
            )
            for at, rows in projections
        ),
        bias=tuple(_bias(at, repeat=rows) for at, rows in projections) if has_bias else (),
        outgoing=(
            Entries(
                lambda m: output(m).weight, 1, repeat=per_unit, fed_bias=lambda m: output(m).bias
            ),
        ),
        draw=_rows(model.initialiser, attention.query_proj.weight.shape[0]),
        shared=_of_qk_norms(attention.query_norm, where),
        repeat=per_unit,
        tokens=True,
        inside=tuple(f"{name}_{part}" for part in ("query", "key", "value")),
        never_dead="the output of an attention head is a mean of values, which is not 0",
    )


def _hidden(
    model: AbstractTransformer, name: str, where: Callable[[Any], TransformerBlock]
) -> UnitGroup:
    mlp = where(model).mlp
    group = unit_group(
        model,
        f"{name}_mlp",
        lambda m: where(m).mlp.up,
        lambda m: where(m).mlp.down,
        lambda m: where(m).mlp.activation,
        initialiser=model.initialiser,
    )
    if mlp.gate is not None:
        gate = lambda m: where(m).mlp.gate
        incoming = (*group.incoming, _weight(gate))
        bias = group.bias if mlp.gate.bias is None else (*group.bias, _bias(gate))
        group = dataclasses.replace(group, incoming=incoming, bias=bias)
    return dataclasses.replace(group, tokens=True, never_dead=_why_never_dead(mlp.activation))


def _of_qk_norms(norm: Norm | None, where: Callable[[Any], TransformerBlock]) -> tuple[_Place, ...]:
    """Where the parameters of the norms of queries and keys are; both are like `norm`."""
    if norm is None:
        return ()
    norms = (lambda m: where(m).attention.query_norm, lambda m: where(m).attention.key_norm)
    names = ("weight",) if norm.bias is None else ("weight", "bias")
    return tuple(lambda m, at=at, name=n: getattr(at(m), name) for at in norms for n in names)


def _weight(at: _Place) -> Entries:
    return Entries(lambda m: at(m).weight, 0)


def _bias(at: _Place, *, repeat: int = 1) -> Entries:
    return Entries(lambda m: at(m).bias, 0, repeat=repeat)


def _rows(initialiser: AbstractInitialiser, total: int) -> Draw:
    def draw(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "rows in"]:
        return initialiser.rows(key, shape, total)

    return draw


def _has_weight(positions: Any) -> bool:
    return getattr(positions, "weight", None) is not None


def _why_never_dead(activation: AbstractActivation) -> str:
    if not isinstance(activation, Elementwise) or silent_below_zero(activation):
        return ""
    name = getattr(activation.function, "__name__", "this function").strip("_")
    return f"units are dead at 0 with ReLU, and not with {name}"
