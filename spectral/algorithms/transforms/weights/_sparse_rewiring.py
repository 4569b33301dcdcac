"""Sparse evolutionary training: new connections replace the weakest ones."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._types import Learner, Signal
from ..._base._arguments import as_fraction, Number
from ..._base._protocols import AbstractTransform
from ..._base._unit_groups import sparse_layers


class SparseRewiring(AbstractTransform[None]):
    """Moves the weakest connections of every sparse layer to new places (SET; Mocanu et al.,
    *Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
    network science*, 2018).

    In each layer the connections of smallest |weight| are removed: a fraction `fraction` of all,
    rounded to a whole number. The same number of connections is then created at places drawn
    uniformly from all empty ones, with weights from the network's initial distribution. So each
    layer keeps its exact number of connections. The optimiser forgets the removed and the new ones.
    (The publication removes this fraction of the positive and of the negative weights separately,
    and makes narrow layers denser than wide ones; `spectral.models.Sparse` has one density for all
    layers.)

    Use it under `Periodic`, for networks with `density` below one. Published with a fraction of 0.3
    after every epoch. Sorting a layer of a million places takes a good part of a second on CPU.

    ```python
    model = MLP(64, 10, width=100, density=0.1, key=jax.random.key(0))
    rewiring = Periodic(SparseRewiring(fraction=0.3), period=100)
    algo = Algorithm(sgd(0.03), transforms=(rewiring,))
    ```
    """

    fraction: Float[Array, ""]

    def __init__(self, *, fraction: Number = 0.3):
        """**Raises:** `ValueError` for a fraction outside [0, 1]."""
        self.fraction = as_fraction("fraction", fraction)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of its layers
        is sparse."""
        if not sparse_layers(learner.model):
            raise ValueError(
                f"No layer of this {type(learner.model).__name__} is sparse, so there are no "
                "connections to move: make the model with a `density` below 1."
            )

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        model = learner.model
        params = eqx.filter(model, eqx.is_inexact_array)
        moved = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
        for i, (group, weight_of, mask_of) in enumerate(sparse_layers(model)):
            place_key, weight_key = jax.random.split(jax.random.fold_in(key, i))
            weight, mask = weight_of(model), mask_of(model)
            removed, made = self._moves(weight, mask, key=place_key)
            drawn = group.draw(weight_key, weight.shape).astype(weight.dtype)
            weight = jnp.where(made, drawn, jnp.where(removed, 0, weight))
            model = eqx.tree_at(weight_of, model, weight)
            model = eqx.tree_at(mask_of, model, (mask & ~removed) | made)
            moved = eqx.tree_at(weight_of, moved, removed | made)
        optimiser = learner.optimiser.forget(moved, model)
        return replace(learner, model=model, optimiser=optimiser), state

    def _moves(
        self, weight: Float[Array, "..."], mask: Bool[Array, "..."], *, key: PRNGKeyArray
    ) -> tuple[Bool[Array, "..."], Bool[Array, "..."]]:
        """Marks the connections to remove, and the places of the connections to create."""
        count = jnp.round(self.fraction * jnp.sum(mask)).astype(int)
        removed = _first(count, jnp.where(mask, jnp.abs(weight), jnp.inf))
        empty = ~mask | removed
        score = jax.random.uniform(key, mask.shape)
        return removed, _first(count, jnp.where(empty, score, jnp.inf))


def _first(count: Int[Array, ""], scores: Float[Array, "..."]) -> Bool[Array, "..."]:
    """Marks the `count` lowest scores: exactly this many, even if some scores are equal."""
    order = jnp.argsort(scores, axis=None)
    chosen = jnp.arange(order.size) < count
    return jnp.zeros(order.size, bool).at[order].set(chosen).reshape(scores.shape)
