"""Small networks whose layers can be seen through, and their risks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from growing_classes import BatchNormNetwork

from spectral import models
from spectral.curvature import Risk, SoftmaxCrossEntropy


class Chain(eqx.Module):
    """Layers and functions, one after the other."""

    steps: tuple[Callable, ...]

    def __call__(self, x):
        for step in self.steps:
            x = step(x)
        return x


class Twice(eqx.Module):
    inner: eqx.nn.Linear
    outer: eqx.nn.Linear

    def __call__(self, x):
        hidden = jnp.tanh(self.inner(x))
        return self.outer(jnp.tanh(self.inner(hidden)) + hidden)


class Wrapped(eqx.Module):
    """Each layer inside another transformation."""

    first: eqx.nn.Linear
    second: eqx.nn.Linear
    third: eqx.nn.Linear

    def __call__(self, x):
        assert isinstance(self.first, eqx.nn.Linear)
        assert x.shape == (self.first.in_features,)
        x = jnp.tanh(eqx.filter_jit(lambda layer, x: layer(x))(self.first, x))
        x = jnp.tanh(eqx.filter_checkpoint(lambda layer, x: layer(x))(self.second, x))
        return jax.lax.map(lambda y: self.third(y), x[None])[0]  # a loop of one step


class InInference(eqx.Module):
    """The network is cut in two, since not all of it is parameters."""

    static: Any
    state: eqx.nn.State

    def __call__(self, params, inputs):
        model = eqx.nn.inference_mode(eqx.combine(params, self.static))
        result = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(
            inputs, self.state
        )
        return result[0][0]


def forward(model, inputs):
    return jax.vmap(model)(inputs)


def forward_first(model, inputs):
    return jax.vmap(model)(inputs)[0]


class Case(NamedTuple):
    risk: Risk
    params: Any


def case(model, shape, classes=3, *, key, forward=forward, examples=7, batch_size=None) -> Case:
    x_key, y_key = jax.random.split(key)
    inputs = jax.random.normal(x_key, (examples, *shape))
    labels = jax.random.randint(y_key, (examples,), 0, classes)
    return Case(Risk(forward, SoftmaxCrossEntropy(), inputs, labels, batch_size=batch_size), model)


def mlp(key) -> Case:
    model = models.MLP(3, 3, width=4, depth=1, activation="tanh", key=key)
    return case(model, (3,), key=key, forward=forward_first)


def convolutions(key) -> Case:
    keys = jax.random.split(key, 3)
    first = eqx.nn.Conv2d(2, 2, (3, 2), stride=(2, 1), padding=((1, 1), (0, 1)), key=keys[0])
    second = eqx.nn.Conv2d(2, 2, 2, dilation=2, padding="SAME", use_bias=False, key=keys[1])
    last = eqx.nn.Linear(8, 3, key=keys[2])
    return case(Chain((first, jnp.tanh, second, jnp.tanh, jnp.ravel, last)), (2, 3, 2), key=key)


def patches(key) -> Case:
    keys = jax.random.split(key, 3)
    first = models.Convolution(2, 2, 3, stride=2, key=keys[0])
    second = models.Convolution(2, 3, 2, padding="valid", use_bias=False, key=keys[1])
    model = Chain((first, jnp.tanh, second, jnp.ravel))
    return case(model, (2, 3, 4), key=key)


def conv_net(key) -> Case:
    options = {"channels": (2,), "kernels": (3,), "dense_sizes": (), "layer_norm": True}
    model = models.ConvNet((1, 4, 4), 3, **options, key=key)
    return case(model, (1, 4, 4), key=key, forward=forward_first)


def twice(key) -> Case:
    a, b = jax.random.split(key)
    model = Twice(eqx.nn.Linear(3, 3, key=a), eqx.nn.Linear(3, 2, key=b))
    return case(model, (3,), 2, key=key)


def wrapped(key) -> Case:
    keys = jax.random.split(key, 3)
    return case(Wrapped(*(eqx.nn.Linear(3, 3, key=k) for k in keys)), (3,), key=key)


def norms(key) -> Case:
    keys = jax.random.split(key, 5)
    layers = eqx.nn.LayerNorm(6), eqx.nn.RMSNorm(6), eqx.nn.GroupNorm(2, 6)
    move = lambda x, k: x + 0.3 * jax.random.normal(k, x.shape) if eqx.is_array(x) else x
    layers = [
        jax.tree.map(lambda x, k=k: move(x, k), layer)
        for layer, k in zip(layers, keys[:3], strict=True)
    ]
    first, last = eqx.nn.Linear(3, 6, key=keys[3]), eqx.nn.Linear(6, 3, key=keys[4])
    steps = [step for layer in layers for step in (layer, jnp.tanh)]
    return case(Chain((first, *steps, last)), (3,), key=key)


def batch_norm(key) -> Case:
    model, state = eqx.nn.make_with_state(BatchNormNetwork)(key=key)
    inputs = jax.random.normal(key, (5, 3)) + 1
    state = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(
        inputs, state
    )[1]
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return case(params, (3,), 6, key=key, forward=InInference(static, state))


CASES = {
    "mlp": mlp,
    "convolutions": convolutions,
    "patches": patches,
    "conv_net": conv_net,
    "twice": twice,
    "wrapped": wrapped,
    "norms": norms,
    "batch_norm": batch_norm,
}
