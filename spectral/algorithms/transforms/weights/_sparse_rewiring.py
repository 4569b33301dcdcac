"""Sparse evolutionary training: the weakest connections make way for new ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import check_fraction
from ...._types import Learner, Signal
from ..._base._algorithm import AbstractTransform
from ..._base._unit_groups import sparse_layers


class SparseRewiring(AbstractTransform[None]):
    """Move the weakest connections of every sparse layer to new places (SET; Mocanu et al.,
    *Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
    network science*, 2018).

    In each layer the fraction `fraction` of the connections, rounded, is removed: those of the
    smallest |weight|. As many are made, at places drawn uniformly from all that are empty then,
    with weights drawn as the network's own initialisation draws them. So each layer keeps its
    number of connections exactly. The optimiser forgets both kinds. (The publication removes that
    fraction of the positive and of the negative weights each, and gives narrow layers a higher
    density than wide ones; `spectral.models.Sparse` gives all the same.)

    Used under `Periodic`; published with a fraction of 0.3 after every epoch, for networks with
    `density` below one. Sorting a layer of a million places takes a good part of a second on CPU.

    ```python
    model = MLP(64, 10, width=100, density=0.1, key=jax.random.key(0))
    algo = Algorithm(sgd(0.03), transforms=(Periodic(SparseRewiring(0.3), period=100),))
    ```
    """

    fraction: Float[Array, ""]

    def __init__(self, *, fraction: float | Float[Array, ""] = 0.3):
        """**Raises:** `ValueError` for a fraction outside [0, 1]."""
        check_fraction("fraction", fraction)
        self.fraction = jnp.asarray(fraction, dtype=float)

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
        return Learner(model, learner.model_state, learner.optimiser.forget(moved, model)), state

    def _moves(
        self, weight: Float[Array, "..."], mask: Bool[Array, "..."], *, key: PRNGKeyArray
    ) -> tuple[Bool[Array, "..."], Bool[Array, "..."]]:
        """The connections to remove, and the places of those to make."""
        count = jnp.round(self.fraction * jnp.sum(mask)).astype(int)
        removed = _first(count, jnp.where(mask, jnp.abs(weight), jnp.inf))
        empty = ~mask | removed
        score = jax.random.uniform(key, mask.shape)
        return removed, _first(count, jnp.where(empty, score, jnp.inf))


def _first(count: Int[Array, ""], scores: Float[Array, "..."]) -> Bool[Array, "..."]:
    """The `count` lowest scores: exactly so many, also where some are equal."""
    order = jnp.argsort(scores, axis=None)
    chosen = jnp.arange(order.size) < count
    return jnp.zeros(order.size, bool).at[order].set(chosen).reshape(scores.shape)
