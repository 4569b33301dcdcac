"""Beginning anew at every task."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ...._arguments import unknown_name
from ...._carry import branch
from ...._types import Clock, Learner
from ....models import activations_of, unit_groups
from ..._base._algorithm import AbstractTransform
from ..._base._fresh import fresh_parameters


_PARTS = ("network", "head")
_VALUES = ("fresh", "zero")


class Reset(AbstractTransform[list[Array]]):
    """Newly drawn weights and an optimiser without a past, at the start of each task but the first.

    - `part="network"`: all parameters, the running statistics and the whole state of the optimiser
      (the baseline RESET).
    - `part="head"`: the parameters that are the incoming weights, bias, norm or learnt activation
      of no hidden unit, that is the output layer, and what the optimiser keeps for them.
      `to="zero"` sets them to zero instead (the head of Dohare et al.'s Continual ImageNet).
    """

    part: str = eqx.field(static=True)
    to: str = eqx.field(static=True)

    def __init__(
        self,
        *,
        part: Literal["network", "head"] = "network",
        to: Literal["fresh", "zero"] = "fresh",
    ):
        """**Raises:** `ValueError` for an unknown name, or a whole network of zeros."""
        for name, value, allowed in (("part", part, _PARTS), ("to", to, _VALUES)):
            if value not in allowed:
                raise ValueError(f"`{name}`: {unknown_name('Name', value, allowed)}")
        if part == "network" and to == "zero":
            raise ValueError(
                "`to` is 'zero', but a network of zeros cannot learn: pass `part='head'` as well."
            )
        self.part, self.to = part, to

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> list[Array]:
        """The running statistics of a beginning."""
        return jax.tree.leaves(learner.model_state)

    def begin_task(
        self, learner: Learner, state: list[Array], clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, list[Array]]:
        """**Raises:** `TypeError` for a model without `fresh`, or without `units()` where its head
        is wanted."""
        act = self._whole if self.part == "network" else self._head
        return branch(clock.task > 0, lambda old: act(old, state, key=key), learner), state

    def _whole(self, learner: Learner, state: list[Array], *, key: PRNGKeyArray) -> Learner:
        _, static = eqx.partition(learner.model, eqx.is_inexact_array)
        model = eqx.combine(fresh_parameters(learner.model, key=key), static)
        structure = jax.tree.structure(learner.model_state)
        return Learner(model, jax.tree.unflatten(structure, state), learner.optimiser.init(model))

    def _head(self, learner: Learner, state: list[Array], *, key: PRNGKeyArray) -> Learner:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        head = _head_of(learner.model, params)
        if self.to == "zero":
            new = jax.tree.map(jnp.zeros_like, params)
        else:
            new = fresh_parameters(learner.model, key=key)
        params = jax.tree.map(lambda p, n, h: n if h else p, params, new, head)
        marks = jax.tree.map(lambda p, h: jnp.full(p.shape, h), params, head)
        optimiser = learner.optimiser.forget(marks, params)
        return Learner(eqx.combine(params, static), learner.model_state, optimiser)


def _head_of(model: Any, params: PyTree) -> PyTree[bool]:
    """Which parameters determine no hidden unit."""
    hidden = {id(leaf) for leaf in jax.tree.leaves(activations_of(model))}
    for group in unit_groups(model):
        for entries in (*group.incoming, *group.bias, *group.scale, *group.shift):
            hidden.add(id(entries.where(model)))
    return jax.tree.map(lambda p: id(p) not in hidden, params)
