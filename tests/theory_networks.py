"""Curvature of drawn networks, written out by JAX and compiled once for each shape."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def outputs_of(model, inputs):
    return jax.vmap(model)(inputs)[0]


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


def numerical_rank(matrix):
    """Singular values above the rounding of the largest."""
    s = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    return int(np.sum(s > 1e-11 * max(s[0], 1e-300)))


def with_weights(model, weights):
    """The MLP with the given pairs of weight and bias."""
    where = lambda m: [x for layer in m.layers for x in (layer.weight, layer.bias)]
    return eqx.tree_at(where, model, [x for pair in weights for x in pair])
