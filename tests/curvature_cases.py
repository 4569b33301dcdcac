"""Small networks, losses and matrices, each with an independent account of what it computes."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from layered_networks import drawn

from spectral.curvature import (
    Convex,
    epsilon_rank,
    Matrix,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
)


@functools.cache
def rotation(dim):
    """Orthonormal columns: the eigenvectors of all matrices of this size."""
    return np.linalg.qr(np.random.default_rng(dim).normal(size=(dim, dim)))[0]


def rotated(eigenvalues):
    """A dense matrix with these eigenvalues. A diagonal one would hide errors."""
    vectors = rotation(len(eigenvalues))
    return (vectors * eigenvalues) @ vectors.T


def matrix(eigenvalues, dtype: Any = float):
    return Matrix(jnp.asarray(rotated(eigenvalues), dtype))


class Summary(NamedTuple):
    ranks: Any  # the epsilon-rank at each threshold
    weights: Any
    nodes: Any
    range: Any
    squares: Any  # the mean of the squared eigenvalues, as each vector sees it


@eqx.filter_jit
def _summary(spectrum, epsilons):
    nodes, weights = spectrum.quadrature()
    found = jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, epsilons)
    return Summary(found, weights, nodes, jnp.stack(spectrum.range()), spectrum.mean(jnp.square))


def summary(spectrum, *epsilons):
    """Answers to several questions, from one program for up to two thresholds."""
    found = jax.tree.map(np.asarray, _summary(spectrum, jnp.asarray(np.resize(epsilons, 2))))
    count = len(epsilons)
    return found._replace(ranks=[jax.tree.map(lambda x, i=i: x[i], found[0]) for i in range(count)])


def ranks(spectrum, *epsilons):
    """The epsilon-rank at each of up to two thresholds."""
    return summary(spectrum, *epsilons).ranks


def check_scaled(got, expected, power):
    """All fields of a spectrum are those of another one times 2^power, to the bit."""
    fields = jax.tree_util.tree_leaves_with_path(got)
    for (path, own), other in zip(fields, jax.tree.leaves(expected), strict=True):
        own, other, name = np.asarray(own), np.asarray(other), jax.tree_util.keystr(path)
        if name.endswith(("weights", "known", "exhausted")):
            np.testing.assert_array_equal(own, other, err_msg=name)
            continue
        other, tiny = np.ldexp(other, power), np.finfo(own.dtype).tiny
        # What lies below the normal numbers may be rounded to zero.
        same = (own == other) | (np.maximum(np.abs(own), np.abs(other)) < tiny)
        assert same.all(), (name, power, own[~same], other[~same])


def over_examples(model, inputs):
    return jax.vmap(model)(inputs)


class ConvNetwork(eqx.Module):
    conv: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d
    head: eqx.nn.Linear
    activation: Callable

    def __init__(self, *, activation=jnp.tanh, key):
        a, b = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(1, 2, 3, key=a)
        self.pool = eqx.nn.MaxPool2d(2, 2)
        self.head = eqx.nn.Linear(8, 3, key=b)
        self.activation = activation

    def __call__(self, x):
        return self.head(self.pool(self.activation(self.conv(x))).ravel())


class ResidualNetwork(eqx.Module):
    stem: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    branch: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    head: eqx.nn.Linear
    activation: Callable

    def __init__(self, *, activation=jnp.tanh, key):
        a, b, c = jax.random.split(key, 3)
        self.stem = eqx.nn.Linear(2, 4, key=a)
        self.norm = eqx.nn.BatchNorm(4, "batch", mode="batch")
        self.branch = eqx.nn.Linear(4, 4, key=b)
        self.dropout = eqx.nn.Dropout(0.5)
        self.head = eqx.nn.Linear(4, 3, key=c)
        self.activation = activation

    def __call__(self, x, state):
        x = self.stem(x)
        y, state = self.norm(x, state)
        x = x + self.branch(self.dropout(self.activation(y)))
        return self.head(self.activation(x)), state


class WithState(eqx.Module):
    """A forward pass of a network whose BatchNorm is in inference mode."""

    state: eqx.nn.State

    def __call__(self, model, inputs):
        return jax.vmap(lambda x: model(x, self.state)[0])(inputs)


class Case(NamedTuple):
    forward: Any
    model: Any
    inputs: jax.Array

    def flat(self):
        """The parameters as one vector, and the outputs `[examples, 3]` as a function of it."""
        dynamic, constants = eqx.partition(self.model, eqx.is_inexact_array)
        flat, unravel = ravel_pytree(dynamic)
        outputs = lambda p: self.forward(eqx.combine(unravel(p), constants), self.inputs)
        return flat, outputs


def normal(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), float)


def mlp(seed=0, activation=jnp.tanh):
    rng = np.random.default_rng(seed)
    model = drawn(lambda k: eqx.nn.MLP(2, 3, 3, 1, activation=activation, key=k), rng)
    return Case(over_examples, model, normal(rng, 7, 2))


def conv_network(seed=0, activation=jnp.tanh):
    rng = np.random.default_rng(seed)
    model = drawn(lambda k: ConvNetwork(activation=activation, key=k), rng)
    return Case(over_examples, model, normal(rng, 7, 1, 6, 6))


def residual_network(seed=0, activation=jnp.tanh):
    rng = np.random.default_rng(seed)
    make = lambda k: eqx.nn.make_with_state(ResidualNetwork)(activation=activation, key=k)
    model, state = drawn(make, rng)
    state = jax.tree.map(lambda x: 1 + jnp.abs(x), state)  # variances are positive
    return Case(WithState(state), eqx.nn.inference_mode(model), normal(rng, 7, 2) + 0.3)


def dict_forward(params, inputs):
    hidden = jnp.tanh(inputs @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None])
    return hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"][None]


def dict_network(seed=0):
    rng = np.random.default_rng(seed)
    params = {
        f"Dense_{i}": {"kernel": normal(rng, n, 3), "bias": normal(rng, 3)}
        for i, n in enumerate((2, 3))
    }
    return Case(dict_forward, params, normal(rng, 7, 2))


NETWORKS = {
    "mlp": mlp,
    "conv": conv_network,
    "residual": residual_network,
    "dict": dict_network,
}


class LossCase(NamedTuple):
    loss: Any
    targets: Callable[[Any], jax.Array]  # of a NumPy generator, for 7 examples
    reference: Callable[[jax.Array, jax.Array], jax.Array]  # (z, y) of one example


def _labels(rng):
    return jnp.asarray(rng.integers(0, 3, 7))


def _reals(rng):
    return normal(rng, 7, 3)


def _bits(rng):
    return jnp.asarray(rng.integers(0, 2, (7, 3)))


def _pseudo_huber(z, y):
    return jnp.sum(jnp.sqrt(1 + (z - y) ** 2), axis=-1)


def _coupled(z, y):
    """Convex, with a Hessian of full rank that is not diagonal."""
    return jnp.log(jnp.exp(z).sum(-1) + jnp.exp(-z).sum(-1)) + 0.1 * jnp.sum((z - y) ** 2, axis=-1)


LOSSES = {
    "squared": LossCase(lambda: SquaredError(), _reals, lambda z, y: jnp.sum((z - y) ** 2) / 2),
    "squared_mean": LossCase(
        lambda: SquaredError(scale=1 / 3), _reals, lambda z, y: jnp.mean((z - y) ** 2)
    ),
    "squared_large": LossCase(
        lambda: SquaredError(scale=4.0), _reals, lambda z, y: 4 * jnp.sum((z - y) ** 2)
    ),
    "softmax": LossCase(
        lambda: SoftmaxCrossEntropy(), _labels, lambda z, y: jnp.log(jnp.exp(z).sum()) - z[y]
    ),
    "sigmoid": LossCase(
        lambda: SigmoidCrossEntropy(),
        _bits,
        lambda z, y: jnp.sum(jnp.log(1 + jnp.exp(jnp.where(y == 1, -z, z)))),
    ),
    "convex": LossCase(lambda: Convex(_pseudo_huber), _reals, _pseudo_huber),
    "convex_coupled": LossCase(lambda: Convex(_coupled), _reals, _coupled),
    "convex_mean": LossCase(
        lambda: Convex(lambda z, y: jnp.mean(_coupled(z, y))), _reals, _coupled
    ),
}
