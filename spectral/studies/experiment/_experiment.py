"""An experiment: one stream, one network, and the algorithms that are compared on them."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree

from ..._base._quantity import Quantity
from ...algorithms import Algorithm
from ...probes import AbstractProbe
from ...tasks import AbstractTaskStream
from ._benchmark import Benchmark


# The section of `config.yaml` in which a run records facts about itself. It is ignored when the
# file is run again.
RECORDED = "recorded"
# Marks in that section a run whose parts were made in Python.
MADE_IN_PYTHON = "made_in_python"
# Marks in that section a run whose members are trained one after another.
APART = "apart"
# Folders of a run beside those of its algorithms, which have the names of these.
FOLDERS = ("checkpoints", "cluster", "events", "figures")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One stream, one network, and the algorithms and probes that are compared on them."""

    # The whole experiment as YAML can hold it: with all defaults, or as a record of its parts.
    settings: dict[str, Any]
    seeds: int
    stream: AbstractTaskStream
    model: Callable[..., PyTree]  # makes a network from the argument `key`
    algorithms: dict[str, Algorithm]
    probes: dict[str, AbstractProbe]
    _: KW_ONLY
    benchmark: Benchmark | None = None  # the origin of the settings, if they are of a benchmark
    made_in_python: bool = False  # the settings are a record, from which it cannot be made again
    folders: tuple[pathlib.Path, ...] = ()  # where modules of one's own are looked for
    batch_dependent: bool = False  # as in `train_continual`
    apart: bool = False  # each member is a group of its own
    watches: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    first_seed: int = 0  # the seed of the first member; members are numbered from 0
    # What the recorded columns are that are meant to be shown.
    quantities: dict[str, Quantity] = dataclasses.field(default_factory=dict)

    def member(self, seed: int) -> tuple[PyTree, eqx.nn.State | None, PRNGKeyArray]:
        """The untrained network of a seed, its state, and the key of its run.

        They do not depend on the algorithm, so algorithms are compared on equal networks and tasks.
        """
        key = jax.random.key(self.first_seed + seed)
        model, state = self._make(key=jax.random.fold_in(key, 0))
        state = state if jax.tree.leaves(state) else None
        return model, state, jax.random.fold_in(key, 1)

    @functools.cached_property
    def _make(self) -> Callable[..., tuple[PyTree, eqx.nn.State]]:
        # One program for all seeds. Without it, the draw of each shape would be compiled alone.
        return eqx.filter_jit(eqx.nn.make_with_state(self.model))
