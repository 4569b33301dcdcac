"""Small networks whose layers can be seen through, and their risks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from growing_classes import BatchNormNetwork

from spectral import models
from spectral.curvature import AbstractKronecker, Risk, SoftmaxCrossEntropy
from spectral.curvature.kronecker._layout import Layout
from spectral.curvature.kronecker.blocks._factored import FactoredBlock


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
    """A network of which only one part are parameters."""

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


def drawn(make: Callable[[Any], Any], rng: np.random.Generator) -> Any:
    """The network `make(key)` with weights drawn by NumPy, which compiles nothing."""

    def fill(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(np.zeros(leaf.shape, leaf.dtype))
        fan_in = math.prod(leaf.shape[1:])
        return jnp.asarray(rng.normal(size=leaf.shape) / fan_in**0.5, leaf.dtype)

    return jax.tree.map(fill, eqx.filter_eval_shape(make, jax.random.key(0)))


def case(model, shape, classes=3, *, rng, forward=forward, num_examples=7, batch_size=None) -> Case:
    inputs = jnp.asarray(rng.normal(size=(num_examples, *shape)), float)
    labels = jnp.asarray(rng.integers(0, classes, num_examples))
    return Case(Risk(forward, SoftmaxCrossEntropy(), inputs, labels, batch_size=batch_size), model)


def chain(*makes: Callable[[Any], Any]) -> Callable[[Any], Chain]:
    """A chain of layers, each made by a lambda of a key, and of functions without weights."""

    def make(key: Any) -> Chain:
        return Chain(
            tuple(m(key) if getattr(m, "__name__", "") == "<lambda>" else m for m in makes)
        )

    return make


def mlp(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    model = drawn(lambda k: models.MLP(3, 3, width=4, depth=1, activation="tanh", key=k), rng)
    return case(model, (3,), rng=rng, forward=forward_first)


def convolutions(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    strided = {"stride": (2, 1), "padding": ((1, 1), (0, 1))}
    first = lambda k: eqx.nn.Conv2d(2, 2, (3, 2), **strided, key=k)
    dilated = {"dilation": 2, "padding": "SAME", "use_bias": False}
    second = lambda k: eqx.nn.Conv2d(2, 2, 2, **dilated, key=k)
    last = lambda k: eqx.nn.Linear(8, 3, key=k)
    model = drawn(chain(first, jnp.tanh, second, jnp.tanh, jnp.ravel, last), rng)
    return case(model, (2, 3, 2), rng=rng)


def mixed(seed=0, batch_size=3) -> Case:
    """All kinds of layers, in batches of which the last is padded."""
    rng = np.random.default_rng(seed)
    options = {"stride": (2, 1), "padding": ((1, 1), (0, 1)), "dilation": (1, 2)}
    first = lambda k: eqx.nn.Conv2d(2, 2, (3, 2), **options, key=k)
    second = lambda k: models.Convolution(2, 3, 2, padding="valid", use_bias=False, key=k)
    norm = lambda k: eqx.nn.RMSNorm(3)
    last = lambda k: Twice(eqx.nn.Linear(3, 3, key=k), eqx.nn.Linear(3, 3, key=k))
    steps = first, jnp.tanh, second, jnp.ravel, norm, last
    return case(drawn(chain(*steps), rng), (2, 3, 3), rng=rng, batch_size=batch_size)


def patches(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    first = lambda k: models.Convolution(2, 2, 3, stride=2, key=k)
    second = lambda k: models.Convolution(2, 3, 2, padding="valid", use_bias=False, key=k)
    return case(drawn(chain(first, jnp.tanh, second, jnp.ravel), rng), (2, 3, 4), rng=rng)


def conv_net(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    options = {"channels": (2,), "kernels": (3,), "dense_sizes": (), "layer_norm": True}
    model = drawn(lambda k: models.ConvNet((1, 4, 4), 3, **options, key=k), rng)
    return case(model, (1, 4, 4), rng=rng, forward=forward_first)


def twice(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    make = lambda k: Twice(eqx.nn.Linear(3, 3, key=k), eqx.nn.Linear(3, 2, key=k))
    return case(drawn(make, rng), (3,), 2, rng=rng)


def wrapped(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    model = drawn(lambda k: Wrapped(*(eqx.nn.Linear(3, 3, key=k) for _ in range(3))), rng)
    return case(model, (3,), rng=rng)


def norms(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    layers = [lambda k: eqx.nn.LayerNorm(6), lambda k: eqx.nn.RMSNorm(6)]
    layers += [lambda k: eqx.nn.GroupNorm(2, 6)]
    first, last = lambda k: eqx.nn.Linear(3, 6, key=k), lambda k: eqx.nn.Linear(6, 3, key=k)
    steps = [step for layer in layers for step in (layer, jnp.tanh)]
    return case(drawn(chain(first, *steps, last), rng), (3,), rng=rng)


def batch_norm(seed=0) -> Case:
    rng = np.random.default_rng(seed)
    make = lambda k: eqx.nn.make_with_state(BatchNormNetwork)(key=k)
    model, state = drawn(make, rng)
    state = jax.tree.map(lambda x: 1 + jnp.abs(x), state)  # variances are positive
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return case(params, (3,), 6, rng=rng, forward=InInference(static, state))


CASES = {
    "mlp": mlp,
    "convolutions": convolutions,
    "mixed": mixed,
    "patches": patches,
    "conv_net": conv_net,
    "twice": twice,
    "wrapped": wrapped,
    "norms": norms,
    "batch_norm": batch_norm,
}


class Written(AbstractKronecker):
    """Kronecker factors without data."""

    blocks: tuple[FactoredBlock, ...]
    layout: Layout

    @property
    def rest(self):
        return jnp.zeros((), self.dtype)


def written(shapes: dict[str, tuple[int, int]], unused: int = 0) -> Written:
    """Random factors for layers with these numbers of outputs and inputs, each with a bias."""
    rng, blocks, like = np.random.default_rng(0), [], {}
    for index, (name, (outputs, inputs)) in enumerate(shapes.items()):
        roots = (rng.normal(size=(n, n + 1)) for n in (inputs + 1, outputs))
        a, b = (jnp.asarray(root @ root.T / 10, float) for root in roots)
        leaves = (2 * index, 2 * index + 1)
        blocks.append(FactoredBlock(inputs=a, outputs=b, name=name, leaves=leaves))
        # A dict sorts its names: the bias comes second.
        like[name] = {"w": (outputs, inputs), "x": (outputs,)}
    if unused:
        like["z"] = (unused,)
    is_shape = lambda x: isinstance(x, tuple)
    struct = lambda shape: jax.ShapeDtypeStruct(shape, jnp.asarray(0.0, float).dtype)
    return Written(tuple(blocks), Layout(jax.tree.map(struct, like, is_leaf=is_shape)))
