"""A decoder of tokens."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Integer, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...layers._fixed_scale import GPT2Normal
from ...layers._initialised import dense
from ...layers._initialisers import AbstractInitialiser
from ...layers.activations._activation import Activation
from ...layers.activations._gated import Gated
from ...layers.activations._gelu import gelu
from ...layers.attention._norms import layer_norm, MakeNorm, Norm
from ...layers.attention._positions import AbstractPositions, LearnedPositions
from ...layers.attention._rows import for_rows
from ...units._entries import Entries
from ...units._unit_group import UnitGroup
from ._block import TransformerBlock
from ._groups import transformer_groups
from ._transformer import AbstractTransformer, apply_blocks, options_of_parts, transformer_parts


_GPT2, _LEARNED, _GELU = GPT2Normal(), LearnedPositions(), gelu()


class GPT(AbstractTransformer):
    """A transformer that predicts the next token: each token attends to itself and to those before.

    The defaults are GPT-2 (Radford et al., 2019) at a small size; GPT-2 has `GPT(50257, 1024,
    width=768, depth=12, num_heads=12, dropout=0.1)`. LLaMA differs by `norm=rms_norm,
    activation=swiglu(), positions=RotaryPositions(), use_bias=False, tied=False`.

    The taps of a sequence of T tokens are arrays `[channels, T]`:

    - `embedding`: the residual stream before the first block, `[width, T]`.
    - `block_0`, ...: the residual stream after each block, `[width, T]`.
    - `block_0_query`, `block_0_key`, `block_0_value`, ...: projected queries, `[width, T]`, and
      keys and values, `[num_kv_heads * head_width, T]`, before they are normalised and rotated.
      Channel d of head h is at h head_width + d.
    - `block_0_heads`, ...: what the heads return, before the output projection, `[width, T]`.
    - `block_0_mlp`, ...: the activations of the hidden units, `[mlp_width, T]`.
    - `features`: what the layer of the outputs reads, `[width, T]`.

    `attention_weights` computes the weights of attention from the taps.

    ```python
    sizes = {"width": 8, "depth": 2, "num_heads": 2}
    model = eqx.filter_eval_shape(GPT, 65, 32, **sizes, key=jax.random.key(0))  # shapes alone
    logits, taps = eqx.filter_eval_shape(model, jnp.array([3, 1, 4, 1]))  # [4, 65], {...}
    ```
    """

    embedding: eqx.nn.Embedding
    positions: AbstractPositions
    blocks: tuple[TransformerBlock, ...]
    norm: Norm
    head: eqx.nn.Linear | None
    dropout: eqx.nn.Dropout
    initialiser: AbstractInitialiser
    make_norm: MakeNorm = eqx.field(static=True)
    context: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        vocabulary_size: int,
        context: int,
        *,
        width: int = 64,
        depth: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        mlp_width: int | None = None,
        activation: Activation | Gated = _GELU,
        norm: MakeNorm = layer_norm,
        qk_norm: bool = False,
        positions: AbstractPositions = _LEARNED,
        tied: bool = True,
        use_bias: bool = True,
        dropout: float = 0.0,
        initialiser: AbstractInitialiser = _GPT2,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `vocabulary_size`: the number of tokens that exist, which are 0, 1, ...
        - `context`: the length of the longest sequence.
        - `width`: channels of the residual stream.
        - `depth`: the number of blocks.
        - `num_heads`: query heads per block, each of `width / num_heads` channels.
        - `num_kv_heads`: key and value heads per block, by default `num_heads`. Consecutive query
          heads share one.
        - `mlp_width`: hidden units per block, by default 4 `width`.
        - `activation`: of the hidden units: `gelu()`, `"relu"`, `swiglu()`, another `Gated`, or any
          other as for `MLP`.
        - `norm`: `layer_norm` or `rms_norm`.
        - `qk_norm`: normalise the queries and keys of each head, with `norm`.
        - `positions`: `LearnedPositions()` or `RotaryPositions()`.
        - `tied`: the output layer has the weights of the embedding. Otherwise it has its own,
          without a bias.
        - `use_bias`: whether the layers of the blocks have biases.
        - `dropout`: the fraction of entries that are set to 0 in training, in the embedded tokens,
          in the weights of attention, and in what each layer adds to the stream.
        - `initialiser`: draws all matrices, with its `residual` for those whose outputs are added
          to the stream.

        **Raises:** `ValueError` if a size is below 1, `num_heads` does not divide `width` or
        `num_kv_heads` does not divide `num_heads`, for rotary positions with an odd head width, or
        for a `dropout` that is not at least 0 and below 1; `TypeError` for positions, an
        initialiser or a norm of another kind.
        """
        check_count("vocabulary_size", vocabulary_size)
        check_count("context", context)
        embedding_key, parts_key, head_key = jax.random.split(key, 3)
        parts = transformer_parts(
            width,
            context,
            depth=depth,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            mlp_width=mlp_width,
            causal=True,
            activation=activation,
            norm=norm,
            qk_norm=qk_norm,
            positions=positions,
            use_bias=use_bias,
            dropout=dropout,
            initialiser=initialiser,
            key=parts_key,
        )
        weight, _ = initialiser(embedding_key, (vocabulary_size, width))
        self.embedding = eqx.nn.Embedding(weight=weight)
        self.positions, self.blocks = parts.positions, parts.blocks
        self.norm, self.dropout = parts.norm, parts.dropout
        self.head = None
        if not tied:
            self.head = dense(
                width, vocabulary_size, use_bias=False, initialiser=initialiser, key=head_key
            )
        self.initialiser, self.make_norm, self.context = initialiser, norm, context

    def __call__(
        self, tokens: Integer[Array, " tokens"], /, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "tokens vocabulary"], dict[str, Float[Array, "activations tokens"]]]:
        """**Raises:** `ValueError` for a sequence that is empty or longer than the context, or for
        a token outside of the vocabulary. Tokens inside `jit` or `vmap` are unknown: a wrong one
        makes all outputs of its sequence NaN."""
        x = _embedded(self.embedding, tokens, self.context)
        x, taps = apply_blocks(self, x, key=key)
        x = jax.vmap(self.norm)(x)
        outputs = x @ self.embedding.weight.T if self.head is None else for_rows(self.head, x)
        return outputs, taps | {"features": x.T}

    def units(self) -> tuple[UnitGroup, ...]:
        """The groups of all taps except queries, keys and values, see `transformer_groups`."""
        incoming = (Entries(lambda m: m.embedding.weight, 1),)
        return transformer_groups(self, incoming, (), pooled=False)

    def fresh(self, *, key: PRNGKeyArray) -> "GPT":
        """Returns a newly initialised network of the same shape."""
        return GPT(
            self.embedding.weight.shape[0],
            self.context,
            tied=self.head is None,
            **options_of_parts(self),
            key=key,
        )


def _embedded(
    embedding: eqx.nn.Embedding, tokens: Integer[Array, " tokens"], context: int
) -> Float[Array, "tokens width"]:
    """The embedded tokens. They are all NaN if a token does not exist, because indexing would
    take another token without any warning."""
    size = embedding.weight.shape[0]
    if tokens.ndim != 1 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"`tokens` has type {tokens.dtype} and shape {tokens.shape}, but this network takes "
            "one sequence of integers `[tokens]`: pass one, or several through `apply_network`."
        )
    if not 1 <= len(tokens) <= context:
        raise ValueError(
            f"`tokens` has {len(tokens)} tokens, but this network takes 1 to {context}: shorten "
            f"the sequences, or make the network with `context={max(len(tokens), 1)}`."
        )
    if not isinstance(tokens, Tracer):
        values = np.asarray(tokens)
        wrong = values[(values < 0) | (values >= size)]
        if wrong.size:
            raise ValueError(
                f"`tokens` has {wrong[0]}, but the tokens of this network are 0 to {size - 1}: "
                "correct it, or make the network with a larger `vocabulary_size`."
            )
    tokens = tokens.astype(int)
    exist = jnp.all((tokens >= 0) & (tokens < size))
    return jnp.where(exist, jax.vmap(embedding)(tokens), jnp.nan)
