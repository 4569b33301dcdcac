"""Attention with groups of query heads that share a key and a value."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._initialised import dense
from .._initialisers import AbstractInitialiser
from ._norms import made_norm, MakeNorm, Norm
from ._positions import AbstractPositions
from ._rows import for_rows


class Attention(eqx.Module):
    """Attention of several heads (Vaswani et al., 2017), with any number of key and value heads
    that divides the number of heads (Ainslie et al., 2023).

    Query head h reads the key and value head h // (heads / kv heads). Channel d of head h is output
    h head_width + d of its projection, so the heads of a group follow one another. Queries and keys
    may be normalised over the channels of each head, with one scale for all heads (Henry et al.,
    2020; Dehghani et al., 2023), before they are rotated. Logits are divided by sqrt(head_width).
    """

    query_proj: eqx.nn.Linear
    key_proj: eqx.nn.Linear
    value_proj: eqx.nn.Linear
    output_proj: eqx.nn.Linear
    query_norm: Norm | None
    key_norm: Norm | None
    dropout: eqx.nn.Dropout
    num_heads: int = eqx.field(static=True)
    num_kv_heads: int = eqx.field(static=True)
    causal: bool = eqx.field(static=True)

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        num_kv_heads: int,
        causal: bool,
        qk_norm: MakeNorm | None,
        use_bias: bool,
        dropout: float,
        initialiser: AbstractInitialiser,
        output_initialiser: AbstractInitialiser,
        key: PRNGKeyArray,
    ):
        head_width = width // num_heads
        sizes = (num_heads * head_width, *[num_kv_heads * head_width] * 2, width)
        drawn_by = (*[initialiser] * 3, output_initialiser)
        self.query_proj, self.key_proj, self.value_proj, self.output_proj = (
            dense(width, size, use_bias=use_bias, initialiser=i, key=k)
            for size, i, k in zip(sizes, drawn_by, jax.random.split(key, 4), strict=True)
        )
        self.query_norm = None if qk_norm is None else made_norm(qk_norm, head_width)
        self.key_norm = None if qk_norm is None else made_norm(qk_norm, head_width)
        self.dropout = eqx.nn.Dropout(dropout)
        self.num_heads, self.num_kv_heads, self.causal = num_heads, num_kv_heads, causal

    def __call__(
        self,
        x: Float[Array, "tokens width"],
        positions: AbstractPositions,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "tokens width"], dict[str, Float[Array, "activations tokens"]]]:
        """Returns the attended tokens, and the activations `query`, `key`, `value` (as projected)
        and `heads` (before the output projection). `key` is that of the dropout of weights."""
        query, keys, value = (
            for_rows(p, x) for p in (self.query_proj, self.key_proj, self.value_proj)
        )
        weights = attention_softmax(self.logits(query, keys, positions)).astype(value.dtype)
        weights = self.dropout(weights, key=key)
        apart = value.reshape(len(x), self.num_kv_heads, -1)
        grouped = weights.reshape(self.num_kv_heads, -1, len(x), len(x))
        heads = jnp.einsum("kgts,skd->tkgd", grouped, apart).reshape(len(x), -1)
        taps = {"query": query.T, "key": keys.T, "value": value.T, "heads": heads.T}
        return for_rows(self.output_proj, heads), taps

    def logits(
        self,
        query: Float[Array, "tokens query_channels"],
        keys: Float[Array, "tokens key_channels"],
        positions: AbstractPositions,
    ) -> Float[Array, "heads tokens tokens"]:
        """The logits of each head, of projected queries and keys: row t has those with which token
        t attends. They are -inf where a token must not attend."""
        turned = []
        for x, norm, heads in (
            (query, self.query_norm, self.num_heads),
            (keys, self.key_norm, self.num_kv_heads),
        ):
            x = x.reshape(len(x), heads, -1)
            x = x if norm is None else jax.vmap(jax.vmap(norm))(x)
            turned.append(positions.turned(x))
        q, k = turned
        tokens, head_width = q.shape[0], q.shape[2]
        q = (q * head_width**-0.5).reshape(tokens, self.num_kv_heads, -1, head_width)
        logits = jnp.einsum("tkgd,skd->kgts", q, k).reshape(self.num_heads, tokens, tokens)
        if not self.causal:
            return logits
        return jnp.where(jnp.tri(tokens, dtype=bool)[None], logits, -jnp.inf)


def attention_softmax(logits: Float[Array, "... tokens"]) -> Float[Array, "... tokens"]:
    """The weights of attention, in float32 at least."""
    return jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), axis=-1)
