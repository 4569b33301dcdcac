"""Networks with weights drawn by NumPy, and their derivatives, compiled once for each shape."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def network(make: Any, *sizes: Any, seed: int = 0, **options: Any) -> Any:
    """A network with standard normal weights. Its own initialisation is not compiled."""
    rng = np.random.default_rng(seed)
    abstract = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    drawn = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)) if abstract(leaf) else leaf
    shapes = eqx.filter_eval_shape(make, *sizes, key=jax.random.key(0), **options)
    return jax.tree.map(drawn, shapes, is_leaf=abstract)


def with_weights(model, weights):
    """The MLP with the given pairs of weight and bias."""
    where = lambda m: [x for layer in m.layers for x in (layer.weight, layer.bias)]
    return eqx.tree_at(where, model, [jnp.asarray(x) for pair in weights for x in pair])


def outputs_of(model, inputs):
    return jax.vmap(model)(inputs)[0]


@eqx.filter_jit
def taps_of(model, inputs):
    return jax.vmap(model)(inputs)[1]


def squared_error(outputs, targets):
    return jnp.sum((outputs - targets) ** 2, axis=1) / 2


def cross_entropy(outputs, labels):
    return jax.nn.logsumexp(outputs, axis=1) - outputs[jnp.arange(len(labels)), labels]


@eqx.filter_jit
def hessian(model, inputs, targets, losses):
    """The Hessian of the mean loss in the parameters, in the order of `ravel_pytree`."""
    params, static = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(params)

    def mean_loss(flat):
        return jnp.mean(losses(outputs_of(eqx.combine(unravel(flat), static), inputs), targets))

    return jax.hessian(mean_loss)(flat)


def numerical_rank(matrix, *, rounding=1e-11):
    """The number of singular values above the rounding of the largest."""
    s = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    return int(np.sum(s > rounding * max(s[0], 1e-300)))
