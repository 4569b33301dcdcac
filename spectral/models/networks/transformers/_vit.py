"""An encoder of images."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, as_ints, check_count
from ...layers._fixed_scale import TruncatedNormal
from ...layers._image_shape import check_image, check_shape
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


_TRUNCATED, _LEARNED, _GELU = TruncatedNormal(), LearnedPositions(), gelu(exact=True)


class ViT(AbstractTransformer):
    """A transformer that reads the patches of an image (Dosovitskiy et al., 2021).

    The defaults are ViT at a small size; ViT-Ti/16 has `ViT((3, 224, 224), 1000, 16, width=192,
    depth=12, num_heads=3)`. Patches are tokens row by row, after the class token. Every token
    attends to all.

    The taps are those of `GPT`, with T tokens, except `features`, `[width]`: what the layer of the
    outputs reads, which is the class token or the mean of all tokens.

    ```python
    stream = tasks.SplitClasses(tasks.load_images("digits"), classes_per_task=2, num_tasks=2)
    sizes = {"width": 8, "depth": 1, "num_heads": 2}
    model = ViT(stream.in_shape, stream.out_size, 4, **sizes, key=jax.random.key(0))
    logits, taps = model(jnp.zeros(stream.in_shape))   # [2], {"embedding": [8, 5], ...}
    _, history = train_continual(model, stream, algorithms.bp(0.01))
    ```
    """

    patches: eqx.nn.Linear
    class_token: Float[Array, "1 width"] | None
    positions: AbstractPositions
    blocks: tuple[TransformerBlock, ...]
    norm: Norm
    head: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    initialiser: AbstractInitialiser
    make_norm: MakeNorm = eqx.field(static=True)
    in_shape: tuple[int, ...] = eqx.field(static=True, converter=as_ints)
    patch_size: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_size: int,
        patch_size: int,
        *,
        class_token: bool = True,
        width: int = 64,
        depth: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        mlp_width: int | None = None,
        activation: Activation | Gated = _GELU,
        norm: MakeNorm = layer_norm,
        qk_norm: bool = False,
        positions: AbstractPositions = _LEARNED,
        use_bias: bool = True,
        dropout: float = 0.0,
        initialiser: AbstractInitialiser = _TRUNCATED,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_shape`: channels, height and width of an image.
        - `out_size`: length of the output vector.
        - `patch_size`: rows and columns of a patch.
        - `class_token`: the outputs are read from a learnt token before the patches. Otherwise they
          are read from the mean of the tokens.

        The others are those of `GPT`. Rotary positions follow the order of the tokens.

        **Raises:** `ValueError` if `in_shape` is not the shape of an image, `patch_size` does not
        divide its height and width, or as `GPT`.
        """
        check_shape(in_shape)
        check_count("out_size", out_size)
        check_count("patch_size", patch_size)
        channels, height, columns = in_shape
        if height % patch_size or columns % patch_size:
            fit = [p for p in range(1, height + 1) if height % p == 0 and columns % p == 0]
            raise ValueError(
                f"`patch_size` is {patch_size}, but must divide the height and the width of "
                f"`in_shape`, which is {in_shape}: choose one of {fit}, or pad the images."
            )
        patches_key, token_key, parts_key, head_key = jax.random.split(key, 4)
        parts = transformer_parts(
            width,
            height * columns // patch_size**2 + class_token,
            depth=depth,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            mlp_width=mlp_width,
            activation=activation,
            norm=norm,
            causal=False,
            qk_norm=qk_norm,
            positions=positions,
            initialiser=initialiser,
            use_bias=use_bias,
            dropout=dropout,
            key=parts_key,
        )
        self.patches = dense(
            channels * patch_size**2, width, initialiser=initialiser, key=patches_key
        )
        self.class_token = initialiser(token_key, (1, width))[0] if class_token else None
        self.positions, self.blocks = parts.positions, parts.blocks
        self.norm, self.dropout = parts.norm, parts.dropout
        self.head = dense(width, out_size, initialiser=initialiser, key=head_key)
        self.initialiser, self.make_norm = initialiser, norm
        self.in_shape, self.patch_size = tuple(in_shape), patch_size

    def __call__(
        self, x: Float[Array, "channels height width"], /, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " out_size"], dict[str, Float[Array, "activations ..."]]]:
        check_image(x, self.in_shape)
        tokens = for_rows(self.patches, _patches(x, self.patch_size))
        if self.class_token is not None:
            tokens = jnp.concatenate([self.class_token.astype(tokens.dtype), tokens])
        tokens, taps = apply_blocks(self, tokens, key=key)
        tokens = jax.vmap(self.norm)(tokens)
        features = tokens[0] if self.class_token is not None else jnp.mean(tokens, axis=0)
        return self.head(features), taps | {"features": features}

    def units(self) -> tuple[UnitGroup, ...]:
        """The groups of all taps except queries, keys and values, see `transformer_groups`."""
        incoming = (Entries(lambda m: m.patches.weight, 0),)
        if self.class_token is not None:
            incoming += (Entries(lambda m: m.class_token, 1),)
        bias = (Entries(lambda m: m.patches.bias, 0),)
        return transformer_groups(self, incoming, bias, pooled=True)

    def fresh(self, *, key: PRNGKeyArray) -> "ViT":
        """Returns a newly initialised network of the same shape."""
        return ViT(
            self.in_shape,
            self.head.weight.shape[0],
            self.patch_size,
            class_token=self.class_token is not None,
            **options_of_parts(self),
            key=key,
        )


def _patches(x: Float[Array, "channels height width"], size: int) -> Float[Array, "patches pixels"]:
    """The pixels of each patch, in the order of the kernel of a convolution."""
    channels, height, width = x.shape
    apart = x.reshape(channels, height // size, size, width // size, size)
    return apart.transpose(1, 3, 0, 2, 4).reshape(-1, channels * size**2)
