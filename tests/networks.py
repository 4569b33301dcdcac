"""The networks that the tests of units and algorithms run over. A new network is one entry."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from growing_classes import BatchNormNetwork
from point_mass import actor_critic

from spectral import models


class Network(NamedTuple):
    """A network, its state, and the shape of one input."""

    model: Any
    state: Any
    in_shape: tuple[int, ...]


def inputs_of(network: Network, num_examples: int) -> np.ndarray:
    """Random inputs of a network."""
    rng, shape = np.random.default_rng(0), (num_examples, *network.in_shape)
    if isinstance(network.model, models.GPT):
        return rng.integers(0, network.model.embedding.num_embeddings, shape).astype(np.int32)
    return rng.normal(size=shape).astype(np.float32)


class ByKey(models.AbstractInitialiser):
    """Equal weights between `scale` and twice `scale` that follow from the key, and zero biases.

    They compile much faster than random weights.
    """

    scale: float = eqx.field(static=True, default=1.0)

    def __call__(self, key, shape):
        weight = self.scale * (1 + jax.random.key_data(key)[0] % 2**20 / 2**20)
        return jnp.full(shape, weight), jnp.zeros(shape[0])


def drawn(make: Callable[..., Any], key: jax.Array, *, density: float = 1.0) -> Any:
    """The network `make(key=key)` with weights drawn by NumPy. This compiles no program, whereas
    the initialisation of a network compiles one for every shape.

    Weights are Kaiming normal, scales and running variances are 1, all other arrays are 0, except
    the initial parameters of activations, which may be one for each unit. The fraction `density` of
    the connections of a `Sparse` layer exists.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def fill(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, models.AbstractActivation):
            shapes = filter(_is_shape, jax.tree.leaves(leaf))
            sizes = [math.prod(shape.shape) for shape in shapes]
            return leaf.fresh(max(sizes, default=1), key=key)
        if not _is_shape(leaf):
            return leaf
        if leaf.dtype == bool:
            return jnp.asarray(_mask(rng, leaf.shape, density))
        if len(leaf.shape) > 1:
            scale = np.sqrt(2 / np.prod(leaf.shape[1:]))
            return jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype)
        name = getattr(path[-1], "name", None)
        ones = name == "weight" or getattr(path[-1], "idx", None) == 1  # a scale or a variance
        return jnp.asarray(np.full(leaf.shape, float(ones)), leaf.dtype)

    is_activation = lambda node: isinstance(node, models.AbstractActivation)
    is_sparse = lambda node: isinstance(node, models.Sparse)
    shapes = eqx.filter_eval_shape(make, key=key)
    filled = jax.tree_util.tree_map_with_path(fill, shapes, is_leaf=is_activation)
    return jax.tree.map(lambda n: _cut(n) if is_sparse(n) else n, filled, is_leaf=is_sparse)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _mask(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> np.ndarray:
    size = int(np.prod(shape))
    return (rng.permutation(size) < round(density * size)).reshape(shape)


def _cut(layer: models.Sparse) -> models.Sparse:
    weight = jnp.asarray(np.where(layer.mask, layer.weight, np.zeros((), layer.weight.dtype)))
    return eqx.tree_at(lambda s: s.layer.weight, layer, weight)


def mlp(key: jax.Array, **options: Any) -> Network:
    options = {"width": 4, "depth": 2} | options
    make = lambda key: models.MLP(3, 2, **options, key=key)
    return Network(drawn(make, key, density=options.get("density", 1)), None, (3,))


def convnet(key: jax.Array, **options: Any) -> Network:
    options = {"channels": (3, 2), "kernels": (3, 2), "dense_sizes": (3,)} | options
    make = lambda key: models.ConvNet((2, 12, 10), 2, **options, key=key)
    return Network(drawn(make, key, density=options.get("density", 1)), None, (2, 12, 10))


def resnet(key: jax.Array, **options: Any) -> Network:
    options = {"width": 2, "blocks": (1, 1), "dense_sizes": (3,)} | options
    make = eqx.nn.make_with_state(models.ResNet18)
    model, state = drawn(lambda key: make((2, 4, 4), 3, **options, key=key), key)
    return Network(model, state, (2, 4, 4))


def batch_norm(key: jax.Array) -> Network:
    model, state = drawn(eqx.nn.make_with_state(BatchNormNetwork), key)
    return Network(model, state, (3,))


def gpt(key: jax.Array, **options: Any) -> Network:
    """Heads that share keys and values, and gates."""
    options = {
        "num_kv_heads": 2,
        "norm": models.rms_norm,
        "qk_norm": True,
        "activation": models.swiglu(),
        "positions": models.RotaryPositions(),
        "tied": False,
    } | options
    sizes: Any = {"width": 8, "depth": 1, "num_heads": 4, "mlp_width": 5}
    make = lambda key: models.GPT(5, 4, **sizes, **options, key=key)
    return Network(drawn(make, key), None, (4,))


def vit(key: jax.Array, **options: Any) -> Network:
    sizes: Any = {"width": 4, "depth": 1, "num_heads": 2, "mlp_width": 6}
    make = lambda key: models.ViT((2, 4, 4), 3, 2, **sizes, **options, key=key)
    return Network(drawn(make, key), None, (2, 4, 4))


MODELS = {
    "mlp": mlp,
    "mlp_crelu": lambda key: mlp(key, activation=models.CReLU()),
    "mlp_adalin": lambda key: mlp(key, activation=models.AdaLin()),
    "mlp_sparse": lambda key: mlp(key, density=0.5),
    "batch_norm": batch_norm,
    "actor_critic": lambda key: Network(drawn(actor_critic, key), None, (2,)),
    "convnet": lambda key: convnet(key, padding="valid"),
    "convnet_crelu": lambda key: convnet(key, padding="valid", activation=models.CReLU()),
    "resnet": resnet,
    "gpt": gpt,
    "vit": vit,
}
