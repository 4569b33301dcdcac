"""Tune an algorithm on the suite, score it, and write its summary."""

import math
import os
import pathlib

import numpy as np

from ..experiment._grid import Cell
from ..experiment._make import make_experiment
from ..experiment._settings import given_path
from ..measures._measure import last_fifth, mean_measured, measures
from ..runs._results import Member
from ..runs._run import run_experiment
from ..runs._score import score_of
from ..runs._sweep import run_sweep, Sweep
from ._cost import cost_of
from ._entry import Entry, read_entry
from ._honest import check_honest
from ._suite import (
    check_track,
    FIRST_SCORING_SEED,
    Form,
    load_suite,
    SCORING_SEEDS,
    SuiteStream,
    Track,
    TUNING_SEEDS,
    VERSION,
)
from ._summary_file import save_suite_summary, StreamScore, SuiteSummary


def score_algorithm(
    name: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    form: Form = "quick",
    track: Track = "announced",
) -> SuiteSummary:
    """Tune and score an algorithm on every stream of the suite, and write `FOLDER/summary.json`.

    A setting is chosen on tuning seeds, and on validation rows where a stream has any. It is scored
    from other seeds: the mean of the stream's measure over the last fifth of the tasks, 0 for
    guessing and 1 for a perfect learner. A call with the folder of a score that was stopped
    continues it.

    ```python
    summary = studies.score_algorithm("l2_er", "runs/suite/l2_er")
    print(studies.suite_table([summary]))
    ```

    **Arguments:**

    - `name`: a recipe, `my_module:my_algorithm` (a function that takes `lr`), or a YAML file with
      the settings of an algorithm.
    - `folder`: where the runs and the summary are written.
    - `form`: of the suite.
    - `track`: `"announced"`, or `"hidden"` if the algorithm is not told where a task ends.

    **Raises:** `SettingsError` if there is no such algorithm, form or track, if the algorithm tries
    more settings than the suite allows, if it looks at its evaluation, or if the folder holds the
    score of another algorithm.
    """
    suite = load_suite(form)
    check_track(track)
    entry = read_entry(name, suite, track)
    folder = given_path("folder", folder)
    sweeps = {stream.name: _sweep(stream, entry) for stream in suite.streams}
    for sweep in sweeps.values():
        check_honest(sweep.experiment)
    found = {s.name: _scored(s, entry, sweeps[s.name], folder / s.name) for s in suite.streams}
    first = suite.streams[0]
    chosen = next(iter(entry.cells[first.name].values())).settings
    lr = next(iter(first.lr["grid"]))
    cost = cost_of(first.experiment, chosen, lr, folder=entry.folders[0])
    summary = SuiteSummary(
        entry.name, form, track, VERSION, suite.protocol, cost.time, cost.memory, found
    )
    save_suite_summary(summary, folder / "summary.json")
    return summary


def _sweep(stream: SuiteStream, entry: Entry) -> Sweep:
    """The sweep that chooses a setting."""
    cells = entry.cells[stream.name]
    settings = {
        "stream": stream.experiment["stream"],
        "model": stream.experiment["model"],
        "seeds": TUNING_SEEDS,
        "algorithms": {name: cell.settings for name, cell in cells.items()},
    }
    experiment = make_experiment(settings, folder=entry.folders[0])
    section = {"score": {"measure": stream.choose_by, "over": "last"}}
    score = score_of(section, experiment.quantities)
    return Sweep(experiment, cells, score, settings | section)


def _scored(stream: SuiteStream, entry: Entry, sweep: Sweep, folder: pathlib.Path) -> StreamScore:
    table = run_sweep(sweep, folder / "tuning", mode="resume")
    best = table.loc[table["selected"], "cell"]
    if not len(best):
        tried = "; ".join(_shown(cell) for cell in sweep.cells.values())
        told = f"every setting in tuning: {tried}"
        return StreamScore({}, [0.0] * SCORING_SEEDS, told, 0.0)
    cell = sweep.cells[str(best.iloc[0])]
    settings = stream.experiment | {
        "seeds": SCORING_SEEDS,
        "first_seed": FIRST_SCORING_SEED,
        "algorithms": {entry.name: cell.settings},
    }
    experiment = make_experiment(settings, folder=entry.folders[0])
    members = run_experiment(experiment, folder / "scoring", mode="resume").members
    values = np.array([_value(member, stream.measure) for member in members])
    lost = [str(FIRST_SCORING_SEED + m.seed) for m in members if m.status == "diverged"]
    told = f"seed {', '.join(lost)} with {_shown(cell)}" if lost else ""
    kept = float(np.mean([_trainability(member) for member in members]))
    return StreamScore(
        dict(cell.values),
        [float(score) for score in stream.score(values)],
        told,
        None if math.isnan(kept) else kept,
    )


def _value(member: Member, measure: str) -> float:
    """The mean of the measure over the last fifth of the tasks; NaN for a run that diverged."""
    if member.status != "finished":
        return math.nan
    return mean_measured(last_fifth(measures(member.history)[measure].series))


def _trainability(member: Member) -> float:
    """The ratio after the last task; 0 for a run that diverged."""
    if member.status != "finished":
        return 0.0
    return float(member.history["trainability.end.own_ratio"][-1])


def _shown(cell: Cell) -> str:
    return ", ".join(f"{path} {value}" for path, value in cell.values.items()) or "its setting"
