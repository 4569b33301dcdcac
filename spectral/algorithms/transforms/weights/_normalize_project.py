"""Normalise and project: weights keep their initial norms."""

from dataclasses import replace
from itertools import zip_longest
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._base._scaling import joint_norm
from ...._types import Learner, Signal
from ....models import connected, Entries, unit_groups
from ..._base._protocols import AbstractTransform


_Norms = tuple[Float[Array, ""], ...]


class NormalizeProject(AbstractTransform[_Norms]):
    """W <- W ||W_0||_F / ||W||_F for every weight matrix (NaP; Lyle et al., *Normalization and
    effective learning rates in reinforcement learning*, 2024).

    The method is for networks with a LayerNorm before every activation (`layer_norm=True`). The
    biases of a hidden layer are scaled with its weights, so the LayerNorm after it keeps the
    network's function unchanged. The scale and shift of a norm layer are projected together to
    their initial joint norm. Matrices of zeros do not change.

    Use it at every step, or under `Periodic`.
    """

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _Norms:
        """**Raises:** `TypeError` for a model without `units()`."""
        return tuple(_norms(learner.model))

    def update(
        self, learner: Learner, state: _Norms, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _Norms]:
        model = learner.model
        params, static = eqx.partition(model, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(params)
        for (kept, moved), norm, now in zip(_layers(model), state, _norms(model), strict=True):
            factor = jnp.where(now > 0, norm / jnp.where(now > 0, now, 1), 1)
            for i in (*kept, *moved):
                leaves[i] = leaves[i] * factor
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return replace(learner, model=model), state

    def after_reset(
        self, learner: Learner, state: _Norms, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> _Norms:
        """Returns the norms of the new layers. A new layer of zeros, whose norm would keep it at
        zero, grows to its old norm."""
        marks, norms = jax.tree.leaves(reset), []
        for (kept, _), new, old in zip(
            _layers(learner.model), _norms(learner.model), state, strict=True
        ):
            fresh = any(marks[i] for i in kept)
            norms.append(jnp.where(new > 0, new, old) if fresh else old)
        return tuple(norms)


def _layers(model: Any) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each layer, the indices of the parameters that keep their joint norm and of those that
    are scaled with them."""
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    index = {id(leaf): i for i, leaf in enumerate(leaves)}
    seen: set[int] = set()

    def new(*kinds: Entries | None) -> tuple[int, ...]:
        found = [index[id(entries.where(model))] for entries in kinds if entries is not None]
        found = tuple(i for i in dict.fromkeys(found) if i not in seen)
        seen.update(found)
        return found

    layers = []
    for group in unit_groups(model):
        # The units of a residual sum have several matrices, each with its own bias and norm.
        for weight, bias in zip_longest(group.incoming, group.bias):
            if kept := new(weight):
                layers.append((kept, new(bias)))
        for scale, shift in zip_longest(group.scale, group.shift):
            if kept := new(scale, shift):
                layers.append((kept, ()))
    rest = [i for i, leaf in enumerate(leaves) if leaf.ndim > 1 and i not in seen]
    return layers + [((i,), ()) for i in rest]


def _norms(model: Any) -> list[Float[Array, ""]]:
    """For each layer, the joint norm of the parameters that keep it."""
    leaves = jax.tree.leaves(eqx.filter(connected(model), eqx.is_inexact_array))
    return [joint_norm([leaves[i] for i in kept]) for kept, _ in _layers(model)]
