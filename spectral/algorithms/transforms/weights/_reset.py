"""Re-initialisation at every task."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from ...._carry import branch
from ...._types import Clock, Learner, TaskStart
from ....models import head_parameters
from ..._base._arguments import check_name
from ..._base._fresh import fresh_parameters
from ..._base._named import as_names, matching, Names
from ..._base._protocols import AbstractTransform


class Reset(AbstractTransform[list[Array]]):
    """Re-initialises weights and optimiser at the start of every task except the first.

    What other parts of the algorithm remember of the old parameters is initialised again: running
    means of weights, anchors and norms of the arrays that are new, and the records of units in
    layers that are new. Counts over the run and the full learning rate are kept. With `part="head"`
    the records of units are kept, as in the code of Dohare et al.; the hidden units are the same.

    - `part="network"`: all parameters, the running statistics and the whole state of the optimiser
      (the baseline RESET).
    - `part="head"`: the output layer and the optimiser's state for it. It consists of the
      parameters that are not incoming weights, bias, norm or learnt activation of a hidden unit,
      and not shared by the units of a layer.
      `to="zero"` sets them to zero instead of drawing them (the head of Dohare et al.'s Continual
      ImageNet).
    - Any other `part` is the path of a part of the network, or a tuple of paths: fields and indices
      with points between them, such as `"blocks.0.mlp"` or `"layers.1.weight"`. `*` stands for any
      text. All parameters below these paths are new, with the optimiser's state for them and their
      running statistics. All others keep every bit.

    ```python
    Algorithm(adam(1e-3), transforms=(Reset(part=("embedding", "blocks.*.mlp")),))
    ```
    """

    part: str | tuple[str, ...] = eqx.field(static=True)
    to: str = eqx.field(static=True)

    def __init__(self, *, part: Names = "network", to: Literal["fresh", "zero"] = "fresh"):
        """**Raises:** `ValueError` for an unknown `to`, an empty `part`, or a whole network of
        zeros."""
        names = as_names("part", part)
        check_name("to", to, ("fresh", "zero"))
        if part == "network" and to == "zero":
            raise ValueError(
                "`to` is 'zero', but a network of zeros cannot learn: pass `part='head'` as well."
            )
        self.part, self.to = part if part in ("network", "head") else names, to

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> list[Array]:
        """Returns the initial running statistics.

        **Raises:** `ValueError` for a path that is not in the network, or with `part="head"` for a
        network whose output layer has no parameters of its own; `TypeError` with `part="head"` for
        a model without `units()`.
        """
        self._marks(learner.model)
        return jax.tree.leaves(learner.model_state)

    def begin_task(
        self, learner: Learner, state: list[Array], start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, list[Array]]:
        """**Raises:** `TypeError` for a model without `fresh`."""
        act = self._whole if self.part == "network" else self._part
        return branch(start.clock.task > 0, lambda old: act(old, state, key=key), learner), state

    def resets(
        self, learner: Learner, state: list[Array], clock: Clock
    ) -> tuple[Bool[Array, ""], PyTree[bool]]:
        return clock.task > 0, self._marks(learner.model)

    def _marks(self, model: Any) -> PyTree[bool]:
        """Marks the parameters that are reset."""
        params = eqx.filter(model, eqx.is_inexact_array)
        if self.part == "network":
            return jax.tree.map(lambda _: True, params)
        if self.part != "head":
            places = self._places(model)
            return jax.tree_util.tree_map_with_path(lambda path, _: _below(path, places), params)
        marks = head_parameters(model)
        if not any(jax.tree.leaves(marks)):
            raise ValueError(
                f"`part` is 'head', but the output layer of this {type(model).__name__} has no "
                "parameters of its own, because it shares those of hidden layers: pass the path of "
                "what should be new, such as `part='embedding'`."
            )
        return marks

    def _places(self, model: Any) -> set[str]:
        """The paths of the nodes that are chosen."""
        params = eqx.filter(model, eqx.is_inexact_array)
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        nodes = dict.fromkeys(node for path in paths for node in _nodes(path))
        return set(matching("part", as_names("part", self.part), nodes))

    def _whole(self, learner: Learner, state: list[Array], *, key: PRNGKeyArray) -> Learner:
        _, static = eqx.partition(learner.model, eqx.is_inexact_array)
        model = eqx.combine(fresh_parameters(learner.model, key=key), static)
        structure = jax.tree.structure(learner.model_state)
        return Learner(model, jax.tree.unflatten(structure, state), learner.optimiser.init(model))

    def _part(self, learner: Learner, state: list[Array], *, key: PRNGKeyArray) -> Learner:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        part = self._marks(learner.model)
        if self.to == "zero":
            new = jax.tree.map(jnp.zeros_like, params)
        else:
            new = fresh_parameters(learner.model, key=key)
        params = jax.tree.map(lambda p, n, h: n if h else p, params, new, part)
        marks = jax.tree.map(lambda p, h: jnp.full(p.shape, h), params, part)
        optimiser = learner.optimiser.forget(marks, params)
        model_state = self._statistics(learner, state)
        return Learner(eqx.combine(params, static), model_state, optimiser)

    def _statistics(self, learner: Learner, state: list[Array]) -> eqx.nn.State | None:
        """The running statistics, with the initial ones in the parts that are new."""
        model_state = learner.model_state
        if model_state is None or self.part == "head":
            return model_state
        is_index = lambda node: isinstance(node, eqx.nn.StateIndex)
        first = jax.tree.unflatten(jax.tree.structure(model_state), state)
        places = self._places(learner.model)
        nodes = jax.tree_util.tree_leaves_with_path(learner.model, is_leaf=is_index)
        for path, node in nodes:
            if is_index(node) and _below(path, places):
                model_state = model_state.set(node, first.get(node))
        return model_state


def _nodes(path: tuple[Any, ...]) -> list[str]:
    """The paths of all nodes above the leaf at `path`, and of the leaf."""
    name = lambda keys: jax.tree_util.keystr(keys, simple=True, separator=".")
    return [name(path[:i]) for i in range(1, len(path) + 1)]


def _below(path: tuple[Any, ...], places: set[str]) -> bool:
    return not places.isdisjoint(_nodes(path))
