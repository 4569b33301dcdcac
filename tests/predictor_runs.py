"""Run folders with signs of which one predicts the outcome."""

import pathlib
from collections.abc import Mapping

import numpy as np

from spectral import History, Quantity
from spectral.studies import Member
from spectral.studies.runs._folder import open_folder
from spectral.studies.runs._quantities import save_quantities
from spectral.studies.runs._results import save_member


OUTCOME = "trainability.end.own_excess"
PROBES = {
    "trainability": {"type": "Trainability", "budget": 30},
    "rank": {"type": "HessianSpectrum", "epsilon": 0.1},
    "fine": {"type": "OnFreshTasks", "probe": {"type": "HessianSpectrum", "epsilon": 0.01}},
}
QUANTITIES = {
    OUTCOME: Quantity("area above fresh", better="lower", figure="trainability"),
    "trainability.end.own_ratio": Quantity(
        "ratio to fresh", better="higher", figure="trainability"
    ),
    "mine.start.told": Quantity("my own sign", better="higher", cost=2),
    "noise.start.trend": Quantity("noise", better="higher"),
    "noise.end.balanced_trend": Quantity("noise, balanced weights", better="higher"),
    "unsaid.start.told": Quantity("unsaid", cost=0.5),
    "rank.start.rank": Quantity("rank", better="higher", reduce="smallest"),
    "fine.end.rank": Quantity("fine rank", better="higher"),
    "lost.start.lost": Quantity("lost"),
    "start.start.loss": Quantity("loss before the task", figure="loss"),
    "test_accuracy": Quantity("accuracy", better="higher", figure="performance"),
}


def columns(rng: np.random.Generator, trend: float, *, tasks: int, every: int) -> dict:
    """The columns of one run. The outcome falls by `trend` in the middle."""
    measured = np.arange(tasks) % every == 0
    # It steps down after half of the tasks, one checkpoint after its sign.
    level = np.where(np.arange(tasks) >= tasks // 2, trend, 0.0)
    early = np.where(np.arange(tasks) >= tasks // 2 - every, trend, 0.0)
    noise = 0.3 * rng.normal(size=tasks)
    drift = lambda: np.linspace(0, -3, tasks) + rng.normal() + rng.normal(size=tasks)
    sparse = lambda values: np.where(measured, values, np.nan)
    return {
        OUTCOME: sparse(level + noise),
        "trainability.end.own_ratio": sparse(1 - 0.2 * (level + noise)),
        "mine.start.told": sparse(np.exp(-early - noise)),
        "noise.start.trend": drift(),
        "noise.end.balanced_trend": drift(),
        "unsaid.start.told": early + noise,
        "rank.start.rank": np.stack([drift(), drift() + 100], axis=1),
        "fine.end.rank": drift(),
        "lost.start.lost": np.full(tasks, np.nan),
        "start.start.loss": rng.random(tasks),
        "test_accuracy": rng.random(tasks),
        "loss": rng.random((tasks, 2)),
    }


def write_run(
    folder: pathlib.Path,
    *,
    num_algorithms: int = 4,
    seeds: int = 6,
    tasks: int = 24,
    every: int = 2,
    changed: Mapping[str, object] | None = None,
    quantities: Mapping[str, Quantity] = QUANTITIES,
) -> pathlib.Path:
    """A run whose last algorithm does not fall. `changed` columns are constants or `None`, without
    that column."""
    names = [f"a{i}" for i in range(num_algorithms)]
    settings = {"seeds": seeds, "algorithms": {name: {} for name in names}, "probes": PROBES}
    open_folder(folder, settings, {}, "new")
    rng, known = np.random.default_rng(0), dict(quantities)
    for i, name in enumerate(names):
        trend = 2.0 + i if i < num_algorithms - 1 else 0.0
        for seed in range(seeds):
            own = columns(rng, trend, tasks=tasks, every=every)
            for column, value in (changed or {}).items():
                own.pop(column) if value is None else own.update(
                    {column: np.broadcast_to(np.asarray(value, float), (tasks,))}
                )
            own = {column: np.asarray(values) for column, values in own.items()}
            save_member(folder, Member(name, seed, "finished", "", History(own)))
    save_quantities(
        folder, {c: q for c, q in known.items() if (changed or {c: 0}).get(c, 0) is not None}
    )
    return folder
