"""The penalty on the Wasserstein distance from the initial distribution of the weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._arguments import check_above
from ._base import AbstractPenalty


class WassersteinInit(AbstractPenalty[PyTree]):
    """strength times the sum over arrays of ||sort(theta) - sort(theta_0)||^2 / n.

    The squared 2-Wasserstein distance between the empirical distributions of the n entries of an
    array now and at the beginning (Lewandowski et al., *Directions of Curvature as an Explanation
    for Loss of Plasticity*, 2023): weights may go where they like as long as their distribution
    keeps its shape. Sorting a million weights takes tens of milliseconds at every step.
    """

    strength: Float[Array, ""]

    def __init__(self, strength: float | Float[Array, ""]):
        """**Raises:** `ValueError` for a negative strength."""
        check_above("strength", strength, 0, strict=False)
        self.strength = jnp.asarray(strength, dtype=float)

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> PyTree:
        return _sorted(model)

    def value(self, model: PyTree, state: PyTree) -> Float[Array, ""]:
        distances = jax.tree.map(lambda a, b: jnp.mean((a - b) ** 2), _sorted(model), state)
        return self.strength * sum(jax.tree.leaves(distances))

    def update(self, model: PyTree, state: PyTree, *, key: PRNGKeyArray) -> PyTree:
        return state


def _sorted(model: PyTree) -> PyTree:
    return jax.tree.map(lambda p: jnp.sort(p, axis=None), eqx.filter(model, eqx.is_inexact_array))
