"""Normalise and project: weights keep the norms with which they began."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._types import Learner, Signal
from ._base import AbstractTransform
from ._groups import unit_groups


_Norms = tuple[Float[Array, ""], ...]


class NormalizeProject(AbstractTransform[_Norms]):
    """W <- W ||W_0||_F / ||W||_F for every weight matrix (NaP; Lyle et al., *Normalization and
    effective learning rates in reinforcement learning*, 2024).

    The biases of a hidden layer are scaled with its weights, so that behind a LayerNorm, which the
    method presumes (`layer_norm=True` of the models), the network's function does not change. The
    scale and shift of a norm layer are projected together to their own joint norm of the beginning.
    Matrices of zeros stay.

    Used under `Every`, or by itself at every step.
    """

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _Norms:
        """**Raises:** `TypeError` for a model without `units()`."""
        return tuple(_norm(learner.model, kept) for kept, _ in _layers(learner.model))

    def update(
        self, learner: Learner, state: _Norms, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _Norms]:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(params)
        for (kept, moved), norm in zip(_layers(learner.model), state, strict=True):
            now = _norm(learner.model, kept)
            factor = jnp.where(now > 0, norm / jnp.where(now > 0, now, 1), 1)
            for i in (*kept, *moved):
                leaves[i] = leaves[i] * factor
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return Learner(model, learner.model_state, learner.optimiser), state


def _layers(model: Any) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each layer, which parameters keep their joint norm and which are scaled along."""
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    place = {id(leaf): i for i, leaf in enumerate(leaves)}
    seen: set[int] = set()

    def of(kind: tuple[Any, ...]) -> tuple[int, ...]:
        found = [place[id(entries.where(model))] for entries in kind]
        new = tuple(i for i in dict.fromkeys(found) if i not in seen)
        seen.update(new)
        return new

    layers = []
    for group in unit_groups(model):
        weights, biases = of(group.incoming), of(group.bias)
        if weights:
            layers.append((weights, biases))
        if norm := of(group.scale + group.shift):
            layers.append((norm, ()))
    rest = [i for i, leaf in enumerate(leaves) if leaf.ndim > 1 and i not in seen]
    return layers + [((i,), ()) for i in rest]


def _norm(model: PyTree, which: tuple[int, ...]) -> Float[Array, ""]:
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return jnp.sqrt(sum(jnp.sum(leaves[i] ** 2) for i in which))
