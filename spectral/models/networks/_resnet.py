"""The residual network of the paper."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int, as_ints, check_count, MOST_WRITTEN_OUT
from .._network import AbstractNetwork
from ..layers._batch_norm import BatchNorm
from ..layers._call_key import one_key_each
from ..layers._channels_last import channels_last
from ..layers._convolution import Convolution
from ..layers._dense_stack import apply_hidden, dense_stack
from ..layers._image_shape import check_image, check_shape
from ..layers._initialised import activate, convolution
from ..layers._initialisers import AbstractInitialiser, FanOutNormal
from ..layers._sparse import Sparse
from ..layers.activations._activation import (
    AbstractActivation,
    Activation,
    as_activation,
    Elementwise,
    one_for_each,
)
from ..units._of_layer import successive_groups, unit_group
from ..units._unit_group import UnitGroup
from ._residual_block import ResidualBlock


_CONVOLUTIONS, _DENSE = FanOutNormal(scale=2.0), FanOutNormal(scale=1.0)


class ResNet18(AbstractNetwork):
    """A residual network for small images: a 3 x 3 stem, stages of residual blocks, the mean over
    all positions, and dense layers.

    The defaults are the network of the paper's Incremental CIFAR (Appendix I.1): four stages of two
    blocks with 64, 128, 256 and 512 channels, biases in all convolutions, and two dense layers of
    512 ReLUs before the outputs. Weights are drawn from truncated normal distributions of variance
    2 / fan_out (convolutions) and 1 / fan_out (dense layers); biases are zero. Dohare et al. (2024)
    use `dense_sizes=()`, `initialiser=KaimingNormal()` and, for the layer of the outputs,
    `dense_initialiser=KaimingNormal(scale=1.0)`.

    The network has running statistics, so it is made and called with a state. It is vmapped with
    the axis name `"batch"`, as by `apply_network`.

    ```python
    make = eqx.nn.make_with_state(ResNet18)
    model, state = make((3, 8, 8), 10, width=4, blocks=(1,), dense_sizes=(), key=jax.random.key(0))
    outputs, aux = apply_network(model, state, jnp.zeros((2, 3, 8, 8)), inference=True)
    ```
    """

    stem: Convolution | Sparse
    stem_norm: BatchNorm
    stem_activation: AbstractActivation
    stages: tuple[tuple[ResidualBlock, ...], ...]
    dense: tuple[eqx.nn.Linear | Sparse, ...]  # the last gives the outputs
    norms: tuple[eqx.nn.LayerNorm | None, ...]
    activations: tuple[AbstractActivation, ...]  # of the dense layers
    initialiser: AbstractInitialiser
    dense_initialiser: AbstractInitialiser
    in_shape: tuple[int, ...] = eqx.field(static=True, converter=as_ints)
    density: float = eqx.field(static=True)

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_size: int,
        *,
        width: int = 64,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        dense_sizes: tuple[int, ...] = (512, 512),
        activation: Activation = "relu",
        layer_norm: bool = False,
        density: float = 1.0,
        initialiser: AbstractInitialiser = _CONVOLUTIONS,
        dense_initialiser: AbstractInitialiser = _DENSE,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_shape`: channels, height and width of an image.
        - `out_size`: length of the output vector.
        - `width`: channels of the first stage. Each later stage has twice the channels and half the
          rows and columns of the one before.
        - `blocks`: the number of residual blocks in each stage.
        - `dense_sizes`: units in each dense hidden layer.
        - `activation`: `"relu"`, `"tanh"`, any elementwise function that outlives the call, or an
          `AbstractActivation`. An activation with two outputs per unit is used inside the blocks
          and in the dense layers. The stem and the sums keep ReLU, because their number of channels
          is fixed by the residual stream.
        - `layer_norm`: normalise the pre-activations of the dense hidden layers. The convolutions
          have BatchNorm.
        - `density`: the fraction of connections into each hidden layer, see `Sparse`.
        - `initialiser`, `dense_initialiser`: draw weights and biases of convolutions and of dense
          layers.

        **Raises:** `ValueError` if a size is below 1, a number of blocks is above 1000, `in_shape`
        is not the shape of an image, `density` is not above 0 and at most 1, or the name of the
        activation is unknown.
        """
        check_shape(in_shape)
        check_count("out_size", out_size)
        check_count("width", width)
        for size in blocks:
            check_count("blocks", size, maximum=MOST_WRITTEN_OUT)
        for size in dense_sizes:
            check_count("dense_sizes", size)
        in_shape, blocks, dense_sizes = as_ints(in_shape), as_ints(blocks), as_ints(dense_sizes)
        out_size, width = as_int(out_size), as_int(width)
        activation = as_activation(activation)
        outer = activation if activation.copies == 1 else Elementwise(jax.nn.relu)
        stem_key, stages_key, dense_key = jax.random.split(key, 3)
        self.stem = convolution(
            in_shape[0], width, 3, initialiser=initialiser, density=density, key=stem_key
        )
        self.stem_norm = BatchNorm(width)
        self.stem_activation = outer.fresh(width, key=jax.random.fold_in(key, 3))
        stages, channels = [], width
        for s, num_blocks in enumerate(blocks):
            made = []
            for b in range(num_blocks):
                before, channels = channels, width * 2**s
                made.append(
                    ResidualBlock(
                        before,
                        channels,
                        stride=2 if s > 0 and b == 0 else 1,
                        inner=activation,
                        outer=outer,
                        initialiser=initialiser,
                        density=density,
                        key=jax.random.fold_in(jax.random.fold_in(stages_key, s), b),
                    )
                )
            stages.append(tuple(made))
        self.stages = tuple(stages)
        self.dense = dense_stack(
            channels,
            dense_sizes,
            out_size,
            copies=activation.copies,
            initialiser=dense_initialiser,
            density=density,
            keys=[*jax.random.split(dense_key, len(dense_sizes) + 1)],
        )
        self.norms = tuple(eqx.nn.LayerNorm(n) if layer_norm else None for n in dense_sizes)
        own_key = jax.random.fold_in(dense_key, len(dense_sizes) + 1)
        self.activations = one_for_each(activation, dense_sizes, key=own_key)
        self.initialiser = initialiser
        self.dense_initialiser = dense_initialiser
        self.in_shape = tuple(in_shape)
        self.density = density

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Float[Array, "channels height width"],
        state: eqx.nn.State,
        /,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[
        tuple[Float[Array, " out_size"], dict[str, Float[Array, "activations ..."]]], eqx.nn.State
    ]:
        check_image(x, self.in_shape)
        x, state = self.stem_norm(self.stem(x), state)
        blocks = [a for stage in self.stages for block in stage for a in (block.inner, block.outer)]
        keys = one_key_each([self.stem_activation, *blocks, *self.activations], key)
        block_keys = iter(keys[1 : len(blocks) + 1])
        x = activate(None, self.stem_activation, x, key=keys[0])
        taps = {"stem": x}
        for s, stage in enumerate(self.stages):
            for b, block in enumerate(stage):
                (inner, x), state = block(x, state, (next(block_keys), next(block_keys)))
                taps |= {f"block_{s}_{b}_inner": inner, f"block_{s}_{b}": x}
        x = channels_last(lambda x: jnp.mean(x, axis=(0, 1)), x)
        *hidden, last = self.dense
        dense_keys = keys[len(blocks) + 1 :]
        x, dense_taps = apply_hidden("dense", hidden, self.norms, self.activations, x, dense_keys)
        return (last(x), taps | dense_taps), state

    def units(self) -> tuple[UnitGroup, ...]:
        """One group per hidden layer, named as in the taps. Units of convolutions are channels.

        The stem and the sums of the blocks are one residual stream. Its channels have no outgoing
        weights of their own, so these groups are not replaceable.
        """
        stem = _convolution_group(
            self,
            "stem",
            lambda m: m.stem,
            lambda m: m.stem_norm,
            lambda m: m.stem_activation,
        )
        blocks = (
            group
            for s, stage in enumerate(self.stages)
            for b in range(len(stage))
            for group in _block_groups(self, f"block_{s}_{b}", lambda m, s=s, b=b: m.stages[s][b])
        )
        dense = successive_groups(
            self,
            [f"dense_{i}" for i in range(len(self.activations))],
            lambda m: m.dense,
            initialiser=self.dense_initialiser,
        )
        return (stem, *blocks, *dense)

    def fresh(self, *, key: PRNGKeyArray) -> "ResNet18":
        """Returns a newly initialised network of the same shape that uses the same state."""
        *hidden, last = self.dense
        activations = (*self.activations, *(b.inner for stage in self.stages for b in stage))
        made, _ = eqx.nn.make_with_state(ResNet18)(
            self.in_shape,
            last.weight.shape[0],
            width=self.stem.weight.shape[0],
            blocks=tuple(map(len, self.stages)),
            dense_sizes=tuple(layer.weight.shape[0] for layer in hidden),
            activation=activations[0] if activations else self.stem_activation,
            layer_norm=any(norm is not None for norm in self.norms),
            density=self.density,
            initialiser=self.initialiser,
            dense_initialiser=self.dense_initialiser,
            key=key,
        )
        # The structure of this network holds the indices of its state.
        return jax.tree.unflatten(jax.tree.structure(self), jax.tree.leaves(made))


def _block_groups(
    model: ResNet18, name: str, where: Callable[[Any], ResidualBlock]
) -> tuple[UnitGroup, UnitGroup]:
    """The channels between the two convolutions of a block, and the channels of its sum."""
    inner = _convolution_group(
        model,
        f"{name}_inner",
        lambda m: where(m).first,
        lambda m: where(m).first_norm,
        lambda m: where(m).inner,
        into=lambda m: where(m).second,
    )
    outer = _convolution_group(
        model,
        name,
        lambda m: where(m).second,
        lambda m: where(m).second_norm,
        lambda m: where(m).outer,
    )
    if where(model).skip is None:
        return inner, outer
    skip = _convolution_group(
        model,
        name,
        lambda m: where(m).skip,
        lambda m: where(m).skip_norm,
        lambda m: where(m).outer,
    )
    kinds = ("incoming", "bias", "scale", "shift", "statistics")
    joint = {kind: getattr(outer, kind) + getattr(skip, kind) for kind in kinds}
    return inner, dataclasses.replace(outer, **joint)


def _convolution_group(
    model: ResNet18,
    name: str,
    layer: Callable[[Any], Any],
    norm: Callable[[Any], Any],
    activation: Callable[[Any], Any],
    *,
    into: Callable[[Any], Any] | None = None,
) -> UnitGroup:
    """The channels of one convolution; those of the residual stream have no `into`."""
    return unit_group(
        model, name, layer, into, activation, norm=norm, initialiser=model.initialiser
    )
