"""The convolutional networks that the benchmarks train, on synthetic images."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spectral import models, tasks


# By name: the network, the size of its minibatch, and the number of classes.
CASES: dict[str, tuple[Callable[..., Any], int, int]] = {
    "convnet": (models.ConvNet, 100, 2),
    "resnet18, width 8": (lambda *a, key: models.ResNet18(*a, width=8, key=key), 100, 100),
    "resnet18, width 64": (models.ResNet18, 20, 100),
}
SHAPE = (3, 32, 32)


def synthetic(rows: int, classes: int) -> tasks.ImageSet:
    rng = np.random.default_rng(0)
    labels = jnp.asarray(np.arange(rows) % classes)
    images = jnp.asarray(rng.integers(0, 256, (rows, 32, 32, 3)).astype(np.uint8))
    return tasks.ImageSet("synthetic", images, labels, images[:10], labels[:10], classes, 255)


def make(name: str) -> tuple[Any, Any]:
    """A network with slightly perturbed initial weights, and its state."""
    network, _, classes = CASES[name]
    model, state = eqx.nn.make_with_state(network)(SHAPE, classes, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.05 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    model = eqx.apply_updates(model, jax.tree.unflatten(structure, noise))
    return model, state if jax.tree.leaves(state) else None
