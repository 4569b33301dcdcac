"""An experiment: one stream, one network, and what is compared on them."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree

from ...algorithms import Algorithm
from ...probes import AbstractProbe
from ...tasks import AbstractTaskStream
from ._benchmark import Benchmark
from ._call import Call


# What a run records about itself, so that its `config.yaml` can be run again.
RECORDED = "recorded"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One stream, one network, and the algorithms and probes to be compared on them."""

    settings: dict[str, Any]  # all of it as YAML can hold it, defaults included
    seeds: int
    stream: AbstractTaskStream
    model: Call
    algorithms: dict[str, Algorithm]
    probes: dict[str, AbstractProbe]
    _: KW_ONLY
    benchmark: Benchmark | None = None  # where the settings come from, if from one

    def member(self, seed: int) -> tuple[PyTree, eqx.nn.State | None, PRNGKeyArray]:
        """The network of a seed before training, its state, and the key of its run.

        They are the same for every algorithm: algorithms are compared on equal networks and tasks.
        """
        key = jax.random.key(seed)
        model, state = self._make(key=jax.random.fold_in(key, 0))
        state = state if jax.tree.leaves(state) else None
        return model, state, jax.random.fold_in(key, 1)

    @functools.cached_property
    def _make(self) -> Callable[..., tuple[PyTree, eqx.nn.State]]:
        # One program for all seeds: otherwise every draw of another shape is compiled alone.
        return eqx.filter_jit(eqx.nn.make_with_state(self.model.make))
