"""The block of a residual network."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ..layers._batch_norm import BatchNorm
from ..layers._call_key import call_with_key
from ..layers._channels_last import channels_last
from ..layers._convolution import Convolution
from ..layers._initialised import activate, convolution
from ..layers._initialisers import AbstractInitialiser
from ..layers._sparse import Sparse
from ..layers.activations._activation import AbstractActivation


class ResidualBlock(eqx.Module):
    """Two 3 x 3 convolutions with BatchNorm and a skip connection (He et al., 2016, Figure 2).

    The skip connection is the identity if the shape does not change, otherwise a 1 x 1 convolution
    with BatchNorm. `block(x, state, keys)` returns `((inner, out), state)`: the activations between
    the two convolutions and those after the sum. `keys` are those of the two activations.
    """

    first: Convolution | Sparse
    first_norm: BatchNorm
    inner: AbstractActivation
    second: Convolution | Sparse
    second_norm: BatchNorm
    skip: Convolution | Sparse | None
    skip_norm: BatchNorm | None
    outer: AbstractActivation

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        inner: AbstractActivation,
        outer: AbstractActivation,
        initialiser: AbstractInitialiser,
        density: float,
        key: PRNGKeyArray,
    ):
        def layer(m: int, side: int, stride: int, key: PRNGKeyArray) -> Convolution | Sparse:
            return convolution(
                m,
                out_channels,
                side,
                stride=stride,
                initialiser=initialiser,
                density=density,
                key=key,
            )

        first, second, skip = jax.random.split(key, 3)
        self.first = layer(in_channels, 3, stride, first)
        self.first_norm = BatchNorm(out_channels)
        self.inner = inner.fresh(out_channels, key=jax.random.fold_in(key, 3))
        self.second = layer(inner.copies * out_channels, 3, 1, second)
        self.second_norm = BatchNorm(out_channels)
        identity = stride == 1 and in_channels == out_channels
        self.skip = None if identity else layer(in_channels, 1, stride, skip)
        self.skip_norm = None if identity else BatchNorm(out_channels)
        self.outer = outer.fresh(out_channels, key=jax.random.fold_in(key, 4))

    def __call__(
        self,
        x: Float[Array, "channels height width"],
        state: eqx.nn.State,
        keys: tuple[PRNGKeyArray | None, PRNGKeyArray | None],
    ) -> tuple[
        tuple[Float[Array, "inner rows columns"], Float[Array, "out rows columns"]], eqx.nn.State
    ]:
        y, state = self.first_norm(self.first(x), state)
        inner = activate(None, self.inner, y, key=keys[0])
        y, state = self.second_norm(self.second(inner), state)
        if self.skip is not None and self.skip_norm is not None:
            x, state = self.skip_norm(self.skip(x), state)
        outer = lambda x, y: call_with_key(self.outer, x + y, key=keys[1])
        return (inner, channels_last(outer, x, y)), state
