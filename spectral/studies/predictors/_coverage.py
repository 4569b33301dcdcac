"""Which signs could be compared where."""

from typing import NamedTuple

import numpy as np

from ._panel import Panel
from .statistics._levels import FEWEST_CHECKPOINTS


class Coverage(NamedTuple):
    """How often a sign was measured where the outcome was, in one algorithm, and what is missing.

    `measured` counts runs and checkpoints together, as does `possible`. `missing` is empty for a
    sign that was measured everywhere and varies.
    """

    sign: str
    algorithm: str
    measured: int
    possible: int
    missing: str


def coverage(panel: Panel) -> list[Coverage]:
    """The coverage of every sign in every algorithm."""
    known = ~np.isnan(panel.outcome)
    found = []
    for name, sign in panel.signs.items():
        for i, algorithm in enumerate(panel.algorithms):
            values = sign.values[i][known[i]]
            measured, possible = int((~np.isnan(values)).sum()), int(known[i].sum())
            runs = max(1, int(known[i].any(axis=1).sum()))
            missing = ""
            if not measured:
                missing = "NaN or not recorded"
            elif np.nanmin(values) == np.nanmax(values):
                missing = f"always {values[~np.isnan(values)][0]:.3g}"
            elif measured < FEWEST_CHECKPOINTS * runs:
                missing = f"fewer than {FEWEST_CHECKPOINTS} checkpoints a run"
            elif measured < possible:
                missing = "not at all checkpoints"
            found.append(Coverage(name, algorithm, measured, possible, missing))
    return found


def objections(panel: Panel, tuning: tuple[int, ...], results: tuple[int, ...]) -> list[str]:
    """What the runs lack for parts of the comparison, a sentence each."""
    found = []
    known = panel.outcome[~np.isnan(panel.outcome)]
    if not len(known):
        found.append("The outcome is NaN in all runs: nothing can be compared.")
    elif known.min() == known.max():
        found.append(
            "The outcome never varies: it is the same at all checkpoints of all runs, so nothing "
            "can predict it. Measure it on tasks or algorithms that differ."
        )
    if len(panel.tasks) < FEWEST_CHECKPOINTS:
        found.append(
            f"{_many(len(panel.tasks), 'checkpoint')}, but a correlation within runs needs "
            f"at least {FEWEST_CHECKPOINTS}: measure the outcome more often, or train more tasks."
        )
    elif (later := int((panel.tasks > 0).sum())) < 6:
        found.append(
            f"{_many(later, 'checkpoint')} after task 0, but the test of a fall "
            "needs at least 6, so lead times are missing: measure the outcome more often."
        )
    if len(panel.algorithms) < 3:
        found.append(
            f"{_many(len(panel.algorithms), 'algorithm')}, but a correlation across algorithms "
            "needs at least 3: add algorithms, or folders of runs."
        )
    if set(tuning) & set(results):
        found.append(
            "1 seed, so directions and thresholds come from the seed of the results, which "
            "flatters them: train more seeds."
        )
    elif len(results) < 3:
        found.append(
            f"{_many(len(results), 'seed')} for results, but a correlation across seeds needs "
            "at least 3: train more seeds."
        )
    if np.isnan(panel.reached).all():
        found.append(
            "The ratio to fresh networks was not recorded, so areas under the ROC curve are "
            "missing: let the probe `Trainability` record the outcome."
        )
    elif np.nanmin(panel.reached) == np.nanmax(panel.reached):
        all_or_none = "All branches reach" if np.nanmax(panel.reached) else "No branch reaches"
        found.append(
            f"{all_or_none} 0.8 of a fresh network, so areas under the ROC curve are missing."
        )
    if len(panel.controls) < sum(sign.trivial for sign in panel.signs.values()):
        found.append(
            "The loss at the start of tasks was not recorded, or there is one checkpoint, so not "
            "all trivial predictors are known: add the probe `StartLoss`, train more tasks."
        )
    return found


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
