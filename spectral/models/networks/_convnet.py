"""The convolutional network of the paper."""

from typing import Literal

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int, as_ints, check_count
from .._network import AbstractNetwork
from ..layers._call_key import one_key_each
from ..layers._convolution import Convolution
from ..layers._dense_stack import apply_hidden, dense_stack, options_of
from ..layers._image_shape import check_image, check_shape
from ..layers._initialised import activate, convolution, max_pool
from ..layers._initialisers import AbstractInitialiser, LecunNormal
from ..layers._sparse import Sparse
from ..layers.activations._activation import (
    AbstractActivation,
    Activation,
    as_activation,
    one_for_each,
)
from ..units._of_layer import successive_groups
from ..units._unit_group import UnitGroup


_LECUN_NORMAL = LecunNormal()


class ConvNet(AbstractNetwork):
    """Convolutions, each followed by an activation and 2 x 2 max-pooling, then dense layers.
    Pooling can be left out.

    The defaults are the network of the paper's Continual ImageNet (Appendix H.1): convolutions
    5 x 5 x 32, 3 x 3 x 64 and 3 x 3 x 128, two dense layers of 128, ReLU, LeCun-normal weights and
    zero biases. Dohare et al. (2024) use `padding="valid"` and `initialiser=TorchDefault()`.

    ```python
    sizes = {"channels": (4,), "kernels": (3,), "dense_sizes": (5,)}
    model = ConvNet((1, 6, 6), 2, **sizes, key=jax.random.key(0))
    logits, taps = model(jnp.zeros((1, 6, 6)))   # taps: {"conv_0": [4, 6, 6], "dense_0": [5]}
    ```
    """

    convolutions: tuple[Convolution | Sparse, ...]
    dense: tuple[eqx.nn.Linear | Sparse, ...]  # the last gives the outputs
    norms: tuple[eqx.nn.LayerNorm | None, ...]
    activations: tuple[AbstractActivation, ...]
    initialiser: AbstractInitialiser
    in_shape: tuple[int, ...] = eqx.field(static=True, converter=as_ints)
    padding: Literal["same", "valid"] = eqx.field(static=True)
    pooling: bool = eqx.field(static=True)
    density: float = eqx.field(static=True)

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_size: int,
        *,
        channels: tuple[int, ...] = (32, 64, 128),
        kernels: tuple[int, ...] = (5, 3, 3),
        dense_sizes: tuple[int, ...] = (128, 128),
        padding: Literal["same", "valid"] = "same",
        pooling: bool = True,
        activation: Activation = "relu",
        layer_norm: bool = False,
        density: float = 1.0,
        initialiser: AbstractInitialiser = _LECUN_NORMAL,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_shape`: channels, height and width of an image.
        - `out_size`: length of the output vector.
        - `channels`, `kernels`: the output channels and the side of the kernel of each convolution.
        - `dense_sizes`: units in each dense hidden layer.
        - `padding`: `"same"` or `"valid"`, see `Convolution`.
        - `pooling`: whether 2 x 2 max-pooling follows each convolution.
        - `activation`: `"relu"`, `"tanh"`, any elementwise function that outlives the call, or an
          `AbstractActivation`.
        - `layer_norm`: normalise the pre-activations over the units of each layer; in a convolution
          over its channels, separately at each position.
        - `density`: the fraction of connections into each hidden layer, see `Sparse`.
        - `initialiser`: draws weights and biases.

        **Raises:** `ValueError` if a size is below 1, `in_shape` is not the shape of an image,
        `channels` and `kernels` have different lengths, the image is too small for this number of
        layers, `density` is not above 0 and at most 1, or a name is unknown.
        """
        check_shape(in_shape)
        check_count("out_size", out_size)
        in_shape, channels, kernels = as_ints(in_shape), as_ints(channels), as_ints(kernels)
        out_size, dense_sizes = as_int(out_size), as_ints(dense_sizes)
        if len(kernels) != len(channels):
            raise ValueError(
                f"`kernels` is {kernels}, but there are {len(channels)} channels: pass one side "
                "for each convolution."
            )
        for size in dense_sizes:
            check_count("dense_sizes", size)
        activation = as_activation(activation)
        positions = _positions(in_shape, kernels, padding, pooling)
        copies = activation.copies
        keys = [*jax.random.split(key, len(channels) + len(dense_sizes) + 1)]
        into = [in_shape[0], *(copies * c for c in channels)]
        self.convolutions = tuple(
            convolution(
                m, n, side, padding=padding, initialiser=initialiser, density=density, key=k
            )
            for m, n, side, k in zip(into[:-1], channels, kernels, keys, strict=False)
        )
        self.dense = dense_stack(
            into[-1] * positions,
            dense_sizes,
            out_size,
            copies=copies,
            initialiser=initialiser,
            density=density,
            keys=keys[len(channels) :],
        )
        hidden = (*channels, *dense_sizes)
        self.norms = tuple(eqx.nn.LayerNorm(n) if layer_norm else None for n in hidden)
        own_key = jax.random.fold_in(key, len(keys))
        self.activations = one_for_each(activation, hidden, key=own_key)
        self.initialiser = initialiser
        self.in_shape = tuple(in_shape)
        self.padding = padding
        self.pooling = pooling
        self.density = density

    def __call__(
        self, x: Float[Array, "channels height width"], /, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " out_size"], dict[str, Float[Array, "activations ..."]]]:
        check_image(x, self.in_shape)
        taps, keys = {}, one_key_each(self.activations, key)
        for i, layer in enumerate(self.convolutions):
            norm, activation = self.norms[i], self.activations[i]
            taps[f"conv_{i}"] = activate(norm, activation, layer(x), key=keys[i])
            x = max_pool(taps[f"conv_{i}"]) if self.pooling else taps[f"conv_{i}"]
        *hidden, last = self.dense
        rest = slice(len(self.convolutions), None)
        norms, activations = self.norms[rest], self.activations[rest]
        x, dense_taps = apply_hidden("dense", hidden, norms, activations, x.reshape(-1), keys[rest])
        return last(x), taps | dense_taps

    def units(self) -> tuple[UnitGroup, ...]:
        """One group per hidden layer, named as in the taps. Units of convolutions are channels."""
        kernels = tuple(layer.weight.shape[-1] for layer in self.convolutions)
        positions = _positions(self.in_shape, kernels, self.padding, self.pooling)
        convolutions = [f"conv_{i}" for i in range(len(kernels))]
        return successive_groups(
            self,
            [*convolutions, *(f"dense_{i}" for i in range(len(self.dense) - 1))],
            lambda m: (*m.convolutions, *m.dense),
            initialiser=self.initialiser,
            # Flattening places the positions of a channel, after pooling, next to one another.
            repeat={convolutions[-1]: positions} if convolutions else {},
            seen=dict.fromkeys(convolutions, _pooled) if self.pooling else {},
        )

    def fresh(self, *, key: PRNGKeyArray) -> "ConvNet":
        """Returns a newly initialised network of the same shape."""
        *hidden, last = self.dense
        return ConvNet(
            self.in_shape,
            last.weight.shape[0],
            channels=tuple(layer.weight.shape[0] for layer in self.convolutions),
            kernels=tuple(layer.weight.shape[-1] for layer in self.convolutions),
            dense_sizes=tuple(layer.weight.shape[0] for layer in hidden),
            padding=self.padding,
            pooling=self.pooling,
            **options_of(self),
            key=key,
        )


def _pooled(
    activations: Float[Array, "examples channels height width"],
) -> Float[Array, "examples channels rows columns"]:
    return jax.vmap(max_pool)(activations)


def _positions(
    in_shape: tuple[int, ...],
    kernels: tuple[int, ...],
    padding: Literal["same", "valid"],
    pooling: bool,
) -> int:
    """The number of positions of each channel that the dense layers read."""
    height, width = in_shape[1:]
    for side in kernels:
        lost = side - 1 if padding == "valid" else 0
        height, width = height - lost, width - lost
        if pooling:
            height, width = height // 2, width // 2
    if min(height, width) < 1:
        channels, rows, columns = in_shape
        last = f", or {(columns, channels, rows)} if yours come last" if columns < channels else ""
        raise ValueError(
            f"`in_shape` is {in_shape}, which means {channels} channels of {rows} x {columns} "
            f"pixels, because channels come first. Nothing is left of such an image after "
            f'{len(kernels)} convolutions with `padding="{padding}"` '
            f"{'and pooling' if pooling else 'without pooling'}: pass larger images{last}, or "
            "fewer `channels` and `kernels`."
        )
    return height * width
