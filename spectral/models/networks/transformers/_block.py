"""The block of a transformer."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ...layers._initialisers import AbstractInitialiser
from ...layers.activations._activation import AbstractActivation
from ...layers.activations._gated import Gated
from ...layers.attention._attention import Attention
from ...layers.attention._feed_forward import FeedForward
from ...layers.attention._norms import made_norm, MakeNorm, Norm
from ...layers.attention._positions import AbstractPositions


class TransformerBlock(eqx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with the norms before the layers (Xiong et
    al., 2020).

    Dropout acts on the weights of attention and on both sums, as in GPT-2.
    """

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: FeedForward
    dropout: eqx.nn.Dropout

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        num_kv_heads: int,
        mlp_width: int,
        causal: bool,
        activation: AbstractActivation | Gated,
        norm: MakeNorm,
        qk_norm: bool,
        use_bias: bool,
        dropout: float,
        initialiser: AbstractInitialiser,
        output_initialiser: AbstractInitialiser,
        key: PRNGKeyArray,
    ):
        attention_key, mlp_key = jax.random.split(key)
        self.attention_norm = made_norm(norm, width)
        self.attention = Attention(
            width,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            causal=causal,
            qk_norm=norm if qk_norm else None,
            use_bias=use_bias,
            dropout=dropout,
            initialiser=initialiser,
            output_initialiser=output_initialiser,
            key=attention_key,
        )
        self.mlp_norm = made_norm(norm, width)
        self.mlp = FeedForward(
            width,
            mlp_width,
            activation=activation,
            use_bias=use_bias,
            initialiser=initialiser,
            output_initialiser=output_initialiser,
            key=mlp_key,
        )
        self.dropout = eqx.nn.Dropout(dropout)

    def __call__(
        self,
        x: Float[Array, "tokens width"],
        positions: AbstractPositions,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "tokens width"], dict[str, Float[Array, "activations tokens"]]]:
        """Returns the residual stream after the block, and the activations of its parts."""
        keys = [None] * 4 if key is None else [*jax.random.split(key, 4)]
        attended, taps = self.attention(jax.vmap(self.attention_norm)(x), positions, key=keys[0])
        x = x + self.dropout(attended, key=keys[1])
        fed, hidden = self.mlp(jax.vmap(self.mlp_norm)(x), key=keys[2])
        return x + self.dropout(fed, key=keys[3]), taps | {"mlp": hidden}
