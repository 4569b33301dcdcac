"""The members of an experiment that one program can train together."""

import dataclasses
from typing import Any

import equinox as eqx
import jax

from ..._ensemble import Ensemble, same_program
from ._experiment import Experiment


Names = tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class Group:
    """Members that are trained together."""

    index: int  # names the folder of its checkpoints
    names: Names  # algorithm and seed of each member

    @property
    def label(self) -> str:
        """The text in front of its progress bar."""
        if len(self.names) == 1:
            return "{}, seed {}".format(*self.names[0])
        algorithms = list(dict.fromkeys(name for name, _ in self.names))
        seeds = len(self.names) // len(algorithms)
        first = algorithms[0] if len(algorithms) == 1 else f"{algorithms[0]} to {algorithms[-1]}"
        return f"{first}, {seeds} seed{'s' if seeds > 1 else ''}"


def groups(experiment: Experiment) -> list[Group]:
    """All members of an experiment (every algorithm from every seed), in groups.

    If they are trained apart, each is a group. Then all algorithms of a seed come before the next
    seed, so that the groups of a run are the first ones of the same run with more seeds.
    """
    if experiment.apart:
        names = [(name, seed) for seed in range(experiment.seeds) for name in experiment.algorithms]
        return [Group(index, (name,)) for index, name in enumerate(names)]
    found: list[list[str]] = []
    for name, algo in experiment.algorithms.items():
        for group in found:
            if same_program(experiment.algorithms[group[0]], algo):
                group.append(name)
                break
        else:
            found.append([name])
    seeds = range(experiment.seeds)
    return [
        Group(index, tuple((name, seed) for name in group for seed in seeds))
        for index, group in enumerate(found)
    ]


def assemble(experiment: Experiment, names: Names) -> dict[str, Any]:
    """The arguments of `train_continual` for these members.

    Algorithms without arrays, such as `bp(optax.adam(1e-3))`, are equal in a group. All members
    share one of them.
    """
    own = {seed: experiment.member(seed) for seed in range(experiment.seeds)}
    models, states, keys = zip(*(own[seed] for _, seed in names), strict=True)
    algorithms = [experiment.algorithms[name] for name, _ in names]
    shared = not any(map(eqx.is_array, jax.tree.leaves(algorithms[0])))
    return {
        "model": Ensemble.of(models),
        "stream": experiment.stream,
        "algo": algorithms[0] if shared else Ensemble.of(algorithms),
        "key": Ensemble.of(keys),
        "probes": experiment.probes,
        "model_state": None if states[0] is None else Ensemble.of(states),
    }
