"""A transformer made of layers of Equinox, for the benchmarks of curvature."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Block(eqx.Module):
    norm1: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    norm2: eqx.nn.LayerNorm
    rise: eqx.nn.Linear
    fall: eqx.nn.Linear

    def __init__(self, width: int, num_heads: int, *, key):
        keys = jax.random.split(key, 3)
        self.norm1, self.norm2 = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)
        self.attention = eqx.nn.MultiheadAttention(num_heads, width, key=keys[0])
        self.rise = eqx.nn.Linear(width, 4 * width, key=keys[1])
        self.fall = eqx.nn.Linear(4 * width, width, key=keys[2])

    def __call__(self, x: Float[Array, "length width"], mask: Array | None) -> Array:
        y = jax.vmap(self.norm1)(x)
        x = x + self.attention(y, y, y, mask=mask)
        hidden = jax.nn.gelu(jax.vmap(self.rise)(jax.vmap(self.norm2)(x)), approximate=False)
        return x + jax.vmap(self.fall)(hidden)


class Transformer(eqx.Module):
    """Logits at each position of a causal decoder, or one for the mean over positions."""

    tokens: eqx.nn.Embedding
    positions: eqx.nn.Embedding
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear
    is_causal: bool = eqx.field(static=True)
    is_checkpointed: bool = eqx.field(static=True)

    def __init__(
        self,
        vocabulary_size: int,
        *,
        width: int,
        num_heads: int,
        num_blocks: int,
        context: int,
        is_causal: bool = True,
        is_checkpointed: bool = False,
        key,
    ):
        keys = jax.random.split(key, num_blocks + 3)
        self.tokens = eqx.nn.Embedding(vocabulary_size, width, key=keys[0])
        self.positions = eqx.nn.Embedding(context, width, key=keys[1])
        self.blocks = tuple(Block(width, num_heads, key=key) for key in keys[3:])
        self.norm = eqx.nn.LayerNorm(width)
        self.head = eqx.nn.Linear(width, vocabulary_size, key=keys[2])
        self.is_causal, self.is_checkpointed = is_causal, is_checkpointed

    def __call__(self, tokens: Int[Array, " length"]) -> Array:
        x = jax.vmap(self.tokens)(tokens) + jax.vmap(self.positions)(jnp.arange(len(tokens)))
        mask = jnp.tri(len(tokens), dtype=bool) if self.is_causal else None
        apply = lambda block, x: block(x, mask)
        for block in self.blocks:
            x = (eqx.filter_checkpoint(apply) if self.is_checkpointed else apply)(block, x)
        x = jax.vmap(self.norm)(x)
        return jax.vmap(self.head)(x) if self.is_causal else self.head(jnp.mean(x, axis=0))
