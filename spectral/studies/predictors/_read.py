"""The panel of run folders."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from ..._base._quantity import Quantity
from ..analysis._recorded import run_name
from ..experiment._settings import SettingsError
from ..measures._measure import Moment, moment_of, Series
from ..runs._results import Member, Results
from ._panel import Panel, Sign
from ._protocol import PredictorProtocol, REACHED
from ._signs_of import known_quantities, outcome_of, ratio_of, sign_columns
from ._trivial import with_trivial
from .statistics._values import Values


def read_panel(results: Sequence[Results], protocol: PredictorProtocol) -> Panel:
    """Read the signs and the outcome of the training runs that finished.

    The checkpoints are the tasks at which some run measured the outcome. A sign is read in the same
    task, or in the task before if it was measured after the outcome, such as one at the end of a
    task whose accuracy is the outcome: no sign looks ahead. A sign at the start of a task whose
    outcome was measured at its end is older by one task.

    **Raises:** `SettingsError` if no training run has finished, or without a column to predict.
    """
    runs = {
        (name, member.seed): member
        for result in results
        for algorithm, members in result.finished.items()
        for member in members
        for name in [run_name(result, algorithm, alone=len(results) == 1)]
    }
    if not runs:
        folders = ", ".join(repr(str(result.folder)) for result in results)
        raise SettingsError(
            f"None of the training runs in {folders} has finished, and signs are compared on those "
            "that have: wait, or continue them with `spectral run --resume`."
        )
    quantities = known_quantities(results)
    outcome = outcome_of(quantities, protocol.outcome)
    algorithms = tuple(dict.fromkeys(name for name, _ in runs))
    seeds = tuple(sorted({seed for _, seed in runs}))
    num_tasks = max(member.history.num_tasks for member in runs.values())
    members = [[runs.get((name, seed)) for seed in seeds] for name in algorithms]

    def values(column: str) -> Values:
        read = lambda member: _series(member, column, quantities[column], num_tasks)
        return np.stack([np.stack([read(member) for member in row]) for row in members])

    measured = values(outcome)
    tasks = np.flatnonzero(~np.isnan(measured).all(axis=(0, 1)))
    ratio = ratio_of(quantities, outcome)
    reached = np.full(measured.shape, np.nan) if ratio is None else values(ratio)
    # A probe at the end of a task looks ahead from there; other outcomes look back at the task.
    ahead = outcome.count(".") > 1 and _when(runs.values(), outcome) == "end"
    delay = lambda moment: int(moment != "start" and not ahead)
    signs: dict[str, Sign] = {}
    for name, column in sign_columns(results, quantities, protocol).items():
        quantity, when = quantities[column], _when(runs.values(), column)
        at = _at(values(column), tasks, delay=delay(when))
        better = quantity.better
        direction = -1 if better == "lower" else 1
        signs[name] = Sign(at, quantity, when, column, False, better is not None, direction)
    first = np.stack([np.stack([_first_loss(m, num_tasks) for m in row]) for row in members])
    worse = quantities[outcome].better == "lower"
    panel = Panel(
        algorithms,
        seeds,
        tasks,
        (-1.0 if worse else 1.0) * measured[..., tasks],
        np.where(np.isnan(reached), np.nan, reached >= REACHED)[..., tasks],
        signs,
    )
    return with_trivial(panel, _at(first, tasks, delay=delay("whole")))


def _series(member: Member | None, column: str, quantity: Quantity, length: int) -> Series:
    if member is None or column not in member.history:
        return np.full(length, np.nan)
    series = quantity.series(np.asarray(member.history[column], float))
    return np.concatenate([series, np.full(length - len(series), np.nan)])


def _first_loss(member: Member | None, length: int) -> Series:
    """The mean loss over the first chunk of each task, which the loop records."""
    if member is None or "loss" not in member.history or member.history["loss"].ndim < 2:
        return np.full(length, np.nan)
    first = member.history["loss"][:, 0].astype(float)
    return np.concatenate([first, np.full(length - len(first), np.nan)])


def _when(members: Iterable[Member], column: str) -> Moment:
    recorded = next(m.history[column] for m in members if column in m.history)
    return moment_of(column, recorded)


def _at(
    values: Float[np.ndarray, "algorithms seeds tasks"],
    tasks: Int[np.ndarray, " checkpoints"],
    *,
    delay: int,
) -> Values:
    earlier = tasks - delay
    return np.where(earlier >= 0, values[..., np.maximum(earlier, 0)], np.nan)
