"""What all transformers have: positions, blocks, and a norm at the end."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_count, check_fraction, check_kind
from ..._network import AbstractNetwork
from ...layers._initialisers import AbstractInitialiser
from ...layers.activations._activation import Activation, as_activation
from ...layers.activations._gated import Gated
from ...layers.attention._norms import made_norm, MakeNorm, Norm
from ...layers.attention._positions import AbstractPositions
from ._block import TransformerBlock


class AbstractTransformer(AbstractNetwork):
    """A network whose blocks change a residual stream of tokens, see `GPT` and `ViT`."""

    positions: eqx.AbstractVar[AbstractPositions]
    blocks: eqx.AbstractVar[tuple[TransformerBlock, ...]]
    norm: eqx.AbstractVar[Norm]
    dropout: eqx.AbstractVar[eqx.nn.Dropout]
    initialiser: eqx.AbstractVar[AbstractInitialiser]
    make_norm: eqx.AbstractVar[MakeNorm]


class Parts(eqx.Module):
    """The parts that all transformers have."""

    positions: AbstractPositions
    blocks: tuple[TransformerBlock, ...]
    norm: Norm
    dropout: eqx.nn.Dropout


def transformer_parts(
    width: int,
    num_tokens: int,
    *,
    depth: int,
    num_heads: int,
    num_kv_heads: int | None,
    mlp_width: int | None,
    causal: bool,
    activation: Activation | Gated,
    norm: MakeNorm,
    qk_norm: bool,
    positions: AbstractPositions,
    use_bias: bool,
    dropout: float,
    initialiser: AbstractInitialiser,
    key: PRNGKeyArray,
) -> Parts:
    """Returns the parts of a transformer for sequences of up to `num_tokens` tokens.

    **Raises:** `ValueError` if a size is below 1 or does not divide another, or if `dropout` is not
    at least 0 and below 1; `TypeError` for positions, an initialiser or a norm of another kind.
    """
    num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    mlp_width = 4 * width if mlp_width is None else mlp_width
    sizes = {"width": width, "depth": depth, "num_heads": num_heads}
    for name, size in (sizes | {"num_kv_heads": num_kv_heads, "mlp_width": mlp_width}).items():
        check_count(name, size)
    if width % num_heads:
        raise ValueError(
            f"`num_heads` is {num_heads}, but must divide `width`, which is {width}: choose one "
            f"of {_divisors(width)}, or another width."
        )
    if num_heads % num_kv_heads:
        raise ValueError(
            f"`num_kv_heads` is {num_kv_heads}, but must divide `num_heads`, which is "
            f"{num_heads}: choose one of {_divisors(num_heads)}."
        )
    check_fraction("dropout", dropout, strict=True)
    check_kind("positions", positions, AbstractPositions, "models.RotaryPositions()")
    check_kind("initialiser", initialiser, AbstractInitialiser, "models.GPT2Normal()")
    positions_key, *keys = jax.random.split(key, 1 + depth)
    return Parts(
        positions.fresh(
            num_tokens, width, width // num_heads, initialiser=initialiser, key=positions_key
        ),
        tuple(
            TransformerBlock(
                width,
                num_heads=num_heads,
                num_kv_heads=num_kv_heads,
                mlp_width=mlp_width,
                causal=causal,
                activation=activation
                if isinstance(activation, Gated)
                else as_activation(activation),
                norm=norm,
                qk_norm=qk_norm,
                use_bias=use_bias,
                dropout=dropout,
                initialiser=initialiser,
                output_initialiser=initialiser.residual(depth),
                key=own_key,
            )
            for own_key in keys
        ),
        made_norm(norm, width),
        eqx.nn.Dropout(dropout),
    )


def options_of_parts(model: AbstractTransformer) -> dict[str, Any]:
    """Returns the options with which the parts of a transformer were made."""
    first = model.blocks[0]
    return {
        "width": first.attention.output_proj.weight.shape[0],
        "depth": len(model.blocks),
        "num_heads": first.attention.num_heads,
        "num_kv_heads": first.attention.num_kv_heads,
        "mlp_width": first.mlp.up.weight.shape[0],
        "activation": first.mlp.activation
        if first.mlp.gate is None
        else Gated(first.mlp.activation),
        "norm": model.make_norm,
        "qk_norm": first.attention.query_norm is not None,
        "positions": model.positions,
        "use_bias": first.mlp.up.bias is not None,
        "dropout": model.dropout.p,
        "initialiser": model.initialiser,
    }


def apply_blocks(
    model: AbstractTransformer, x: Float[Array, "tokens width"], *, key: PRNGKeyArray | None
) -> tuple[Float[Array, "tokens width"], dict[str, Float[Array, "activations tokens"]]]:
    """Returns the residual stream at the end, and the taps of the stream and of all blocks."""
    keys = [None] * (1 + len(model.blocks))
    if key is not None:
        keys = [*jax.random.split(key, len(keys))]
    x = model.dropout(model.positions.added(x), key=keys[0])
    taps = {"embedding": x.T}
    for i, (block, own_key) in enumerate(zip(model.blocks, keys[1:], strict=True)):
        x, inner = block(x, model.positions, key=own_key)
        taps |= {f"block_{i}_{name}": tap for name, tap in inner.items()} | {f"block_{i}": x.T}
    return x, taps


def _divisors(size: int) -> list[int]:
    return [d for d in range(1, size + 1) if size % d == 0]
