"""The unit groups of a model, and their renewal together with what the optimiser keeps for them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .._types import Learner
from ..models import Entries, entries_of, renew_statistics, renew_units, UnitGroup
from ._when import when


def unit_groups(model: Any) -> tuple[UnitGroup, ...]:
    """All groups of hidden units.

    **Raises:** `TypeError` for a model that does not describe its units.
    """
    if not hasattr(model, "units"):
        raise TypeError(
            f"`model` is a {type(model).__name__} without a method `units()`, by which this "
            "algorithm finds the weights of hidden units: derive it from "
            "`spectral.models.AbstractNetwork`."
        )
    return model.units()


def replaceable_groups(model: Any) -> tuple[UnitGroup, ...]:
    """The groups whose units have outgoing weights of their own, and so can be renewed one by one.

    **Raises:** `TypeError` for a model that does not describe its units, `ValueError` if there is
    no such group.
    """
    groups = tuple(group for group in unit_groups(model) if group.replaceable)
    if not groups:
        raise ValueError(
            f"No hidden units of this {type(model).__name__} can be renewed: none has outgoing "
            "weights of its own. Name them in the `outgoing` entries of `units()`, or choose an "
            "algorithm that renews no units."
        )
    return groups


def renewed(
    learner: Learner,
    chosen: Sequence[tuple[UnitGroup, Bool[Array, " units"]]],
    *,
    key: PRNGKeyArray,
) -> Learner:
    """The learner with the marked units of each group drawn anew, with outgoing weights of zero,
    running statistics of a beginning, and forgotten by the optimiser."""
    for i, (group, units) in enumerate(chosen):

        def renew(before: Learner, i=i, group=group, units=units) -> Learner:
            optimiser = before.optimiser.forget(entries_of(before.model, group, units))
            state = renew_statistics(before.model, before.model_state, group, units)
            model = renew_units(before.model, group, units, key=jax.random.fold_in(key, i))
            return Learner(model, state, optimiser)

        # Drawing weights takes longer than a gradient step: only where there is a unit to renew.
        learner = when(jnp.any(units), renew, learner)
    return learner


def magnitude(kind: tuple[Entries, ...], tree: PyTree) -> Float[Array, " units"]:
    """The mean of |x| over the entries of each unit, in a tree of the structure of the model."""
    totals, counts = [], []
    for entries in kind:
        # Sums first, units afterwards: bringing the units of a matrix to the front would copy it,
        # at eight times the time of the sums. The barrier keeps XLA from taking sums over rows and
        # over columns in one loop, which is half as fast as two.
        array = jax.lax.optimization_barrier(entries.where(tree))
        others = tuple(a for a in range(array.ndim) if a != entries.axis)
        along = dataclasses.replace(entries, axis=0)
        totals.append(jnp.sum(along.by_unit(jnp.sum(jnp.abs(array), axis=others)), axis=1))
        counts.append(array.size // totals[-1].size)
    return jnp.stack(totals).sum(axis=0) / sum(counts)
