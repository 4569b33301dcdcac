"""Re-initialisation at every task."""

from dataclasses import replace
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from ...._carry import branch
from ...._types import Clock, Learner, TaskStart
from ....models import head_parameters
from ..._base._arguments import check_name
from ..._base._fresh import fresh_parameters
from ..._base._protocols import AbstractTransform


class Reset(AbstractTransform[list[Array]]):
    """Re-initialises weights and optimiser at the start of every task except the first.

    What other parts of the algorithm remember of the old parameters is initialised again: running
    means of weights, anchors and norms of the arrays that are new and, with the whole network, the
    records of units. Counts over the run and the full learning rate are kept. With `part="head"`
    the records of units are kept, as in the code of Dohare et al.; the hidden units are the same.

    - `part="network"`: all parameters, the running statistics and the whole state of the optimiser
      (the baseline RESET).
    - `part="head"`: the output layer and the optimiser's state for it. It consists of the
      parameters that are not incoming weights, bias, norm or learnt activation of a hidden unit,
      and not shared by the units of a layer.
      `to="zero"` sets them to zero instead of drawing them (the head of Dohare et al.'s Continual
      ImageNet).
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
        check_name("part", part, ("network", "head"))
        check_name("to", to, ("fresh", "zero"))
        if part == "network" and to == "zero":
            raise ValueError(
                "`to` is 'zero', but a network of zeros cannot learn: pass `part='head'` as well."
            )
        self.part, self.to = part, to

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> list[Array]:
        """Returns the initial running statistics."""
        return jax.tree.leaves(learner.model_state)

    def begin_task(
        self, learner: Learner, state: list[Array], start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, list[Array]]:
        """**Raises:** `TypeError` for a model without `fresh`, or with `part="head"` for a model
        without `units()`."""
        act = self._whole if self.part == "network" else self._head
        return branch(start.clock.task > 0, lambda old: act(old, state, key=key), learner), state

    def resets(
        self, learner: Learner, state: list[Array], clock: Clock
    ) -> tuple[Bool[Array, ""], PyTree[bool]]:
        params = eqx.filter(learner.model, eqx.is_inexact_array)
        whole = self.part == "network"
        new = jax.tree.map(lambda _: True, params) if whole else head_parameters(learner.model)
        return clock.task > 0, new

    def _whole(self, learner: Learner, state: list[Array], *, key: PRNGKeyArray) -> Learner:
        _, static = eqx.partition(learner.model, eqx.is_inexact_array)
        model = eqx.combine(fresh_parameters(learner.model, key=key), static)
        structure = jax.tree.structure(learner.model_state)
        return Learner(model, jax.tree.unflatten(structure, state), learner.optimiser.init(model))

    def _head(self, learner: Learner, state: list[Array], *, key: PRNGKeyArray) -> Learner:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        head = head_parameters(learner.model)
        if self.to == "zero":
            new = jax.tree.map(jnp.zeros_like, params)
        else:
            new = fresh_parameters(learner.model, key=key)
        params = jax.tree.map(lambda p, n, h: n if h else p, params, new, head)
        marks = jax.tree.map(lambda p, h: jnp.full(p.shape, h), params, head)
        optimiser = learner.optimiser.forget(marks, params)
        return replace(learner, model=eqx.combine(params, static), optimiser=optimiser)
