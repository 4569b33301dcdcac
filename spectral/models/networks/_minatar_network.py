"""The network of MinAtar's authors."""

import jax
from jaxtyping import PRNGKeyArray

from .._network import AbstractNetwork
from ..layers._initialisers import AbstractInitialiser, TorchDefault
from ..layers.activations._activation import Activation
from ._convnet import ConvNet
from ._dueling import Dueling


_TORCH_DEFAULT = TorchDefault()


def minatar_network(
    in_shape: tuple[int, ...],
    out_size: int,
    *,
    channels: tuple[int, ...] = (16,),
    kernels: tuple[int, ...] = (3,),
    dense_sizes: tuple[int, ...] = (128,),
    activation: Activation = "relu",
    layer_norm: bool = False,
    dueling: bool = False,
    initialiser: AbstractInitialiser = _TORCH_DEFAULT,
    key: PRNGKeyArray,
) -> AbstractNetwork:
    """Returns the network of action values of Young and Tian (2019) for the games of MinAtar.

    By default it is that of their `examples/dqn.py`: a convolution of 16 filters of 3 x 3 without
    padding or pooling, a dense layer of 128, ReLU, and PyTorch's default initialisation.

    ```
    model = minatar_network((4, 10, 10), 3, key=jax.random.key(0))
    values, taps = model(jnp.zeros((4, 10, 10)))  # [3], {"conv_0": [16, 8, 8], "dense_0": [128]}
    ```

    **Arguments:**

    - `in_shape`: channels, height and width of an observation.
    - `out_size`: the number of actions.
    - `dueling`: put the head of `Dueling` on the last hidden layer.
    - `channels`, `kernels`, `dense_sizes`, `activation`, `layer_norm`, `initialiser`: see
        `ConvNet`.

    **Raises:** `ValueError` as `ConvNet` and `Dueling`.
    """
    network_key, head_key = jax.random.split(key)
    network = ConvNet(
        in_shape,
        out_size,
        channels=channels,
        kernels=kernels,
        dense_sizes=dense_sizes,
        padding="valid",
        pooling=False,
        activation=activation,
        layer_norm=layer_norm,
        initialiser=initialiser,
        key=network_key,
    )
    return Dueling(network, initialiser=initialiser, key=head_key) if dueling else network
