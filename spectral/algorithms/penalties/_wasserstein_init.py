"""The penalty on the Wasserstein distance from the initial distribution of the weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._types import Step
from .._base._after_reset import where_reset
from .._base._arguments import as_non_negative, Number
from .._base._protocols import AbstractPenalty


class WassersteinInit(AbstractPenalty[PyTree]):
    """strength times the sum over arrays of ||sort(theta) - sort(theta_0)||^2 / n.

    This is the squared 2-Wasserstein distance between the empirical distributions of the n entries
    of an array now and at the start of the run, or after the last `Reset` (Lewandowski et al.,
    *Directions of Curvature as an Explanation for Loss of Plasticity*, 2023). Weights may move
    freely as long as their distribution keeps its shape. All weights are sorted at every step.
    """

    strength: Float[Array, ""]

    def __init__(self, strength: Number):
        """**Raises:** `ValueError` for a negative strength."""
        self.strength = as_non_negative("strength", strength)

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> PyTree:
        return _sorted(model)

    def value(self, model: PyTree, state: PyTree, step: Step) -> Float[Array, ""]:
        distances = jax.tree.map(lambda a, b: jnp.mean((a - b) ** 2), _sorted(model), state)
        return self.strength * sum(jax.tree.leaves(distances))

    def after_reset(
        self, model: PyTree, state: PyTree, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> PyTree:
        return where_reset(reset, self.init(model, key=key), state)


def _sorted(model: PyTree) -> PyTree:
    return jax.tree.map(_ascending, eqx.filter(model, eqx.is_inexact_array))


def _ascending(entries: Float[Array, "..."]) -> Float[Array, " entries"]:
    flat = entries.ravel()
    order = _order(jax.lax.stop_gradient(flat))
    return flat.at[order].get(unique_indices=True, mode="promise_in_bounds")


def _order(flat: Float[Array, " entries"]) -> Int[Array, " entries"]:
    """The indices of the entries in ascending order.

    XLA on CPU sorts integers six times faster than floats. Read as an integer, the bits of a
    float32 have the order of the numbers once the bits of negative numbers are flipped. The index
    is carried in the lower half of the same int64.
    """
    if flat.dtype != jnp.float32:
        return jnp.argsort(flat)
    bits = jax.lax.bitcast_convert_type(flat, jnp.int32)
    ranks = jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    with jax.enable_x64(True):
        packed = (ranks.astype(jnp.int64) << 32) | jnp.arange(flat.size, dtype=jnp.int64)
        return (jnp.sort(packed) & 0xFFFFFFFF).astype(jnp.int32)
