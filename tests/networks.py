"""The table of networks over which their laws are tested: a new one is one entry here."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
from growing_classes import BatchNormNetwork
from point_mass import actor_critic

from spectral import models


class Network(NamedTuple):
    """A network, its state, and the shape of one input."""

    model: Any
    state: Any
    in_shape: tuple[int, ...]


def _with_state(make: Any, in_shape: tuple[int, ...]) -> Network:
    return Network(*eqx.nn.make_with_state(make)(), in_shape)


def mlp(key: jax.Array, **options: Any) -> Network:
    return Network(models.MLP(3, 2, width=4, depth=2, key=key, **options), None, (3,))


def convnet(key: jax.Array, **options: Any) -> Network:
    options = {"channels": (3, 2), "kernels": (3, 2), "dense_sizes": (3,)} | options
    return Network(models.ConvNet((2, 12, 10), 2, key=key, **options), None, (2, 12, 10))


def resnet(key: jax.Array, **options: Any) -> Network:
    options = {"width": 2, "blocks": (1, 1), "dense_sizes": (3,), "key": key} | options
    return _with_state(lambda: models.ResNet18((2, 4, 4), 3, **options), (2, 4, 4))


MODELS = {
    "mlp": mlp,
    "mlp_crelu": lambda key: mlp(key, activation=models.CReLU()),
    "mlp_sparse": lambda key: mlp(key, density=0.5),
    "batch_norm": lambda key: _with_state(lambda: BatchNormNetwork(key=key), (3,)),
    "actor_critic": lambda key: Network(actor_critic(key=key), None, (2,)),
    "convnet": lambda key: convnet(key, padding="valid"),
    "convnet_crelu": lambda key: convnet(key, padding="valid", activation=models.CReLU()),
    "resnet": resnet,
}
