"""Sweeps: a grid of settings for each algorithm, from which the best is selected."""

import dataclasses
import io
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..._arguments import unknown_name
from ..experiment._experiment import Experiment, RECORDED
from ..experiment._grid import Cell, expand
from ..experiment._make import make_experiment
from ..experiment._settings import SettingsError
from ..measures._interval import student_half_width
from ..measures._measures import measure_names, measures
from ..published._load import read_experiment
from ._align import align
from ._folder import Mode, Results, write_text
from ._run import Logger, run_experiment


_OVER = ("all", "last")


@dataclasses.dataclass(frozen=True)
class Score:
    """What is highest for the best cell: the mean of a measure over tasks and seeds.

    - `measure`: such as `accuracy` or `online accuracy`, as the table of a run calls it.
    - `over`: `"all"` tasks or the `"last"` fifth.
    """

    measure: str
    over: str

    def __str__(self) -> str:
        tasks = "all tasks" if self.over == "all" else "the last fifth of the tasks"
        return f"mean {self.measure} over {tasks} and seeds"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """An experiment whose algorithms are the cells of a grid, and how the best is chosen."""

    experiment: Experiment
    cells: dict[str, Cell]
    score: Score
    settings: dict[str, Any]  # with the grid, as they were given


def load_sweep(
    path: str | os.PathLike[str],
    *,
    assignments: Iterable[str] = (),
    seeds: int | None = None,
    data_dir: str | None = None,
) -> Sweep:
    """The sweep that a YAML file describes.

    Such a file is that of an experiment, in which arguments of algorithms may be
    `{grid: [1e-2, 1e-3]}` in the place of a value, and with a `score`, such as
    `{measure: accuracy, over: all}`: see `examples/sweeps/digits.yaml`.

    ```python
    sweep = studies.load_sweep("examples/sweeps/digits.yaml", ["stream.num_tasks=5"], seeds=1)
    ```

    **Arguments:** as those of `load_experiment`.

    **Raises:** `SettingsError` for whatever is wrong in the file, in one message.
    """
    settings, benchmark = read_experiment(path, assignments, seeds=seeds)
    score = _score(settings)
    algorithms = settings.get("algorithms")
    cells = expand(algorithms) if isinstance(algorithms, Mapping) else {}
    plain = {name: value for name, value in settings.items() if name != "score"}
    if cells:
        plain["algorithms"] = {name: cell.settings for name, cell in cells.items()}
    experiment = make_experiment(plain, data_dir=data_dir, benchmark=benchmark)
    _check_measure(score, measure_names(experiment.settings["probes"]))
    return Sweep(experiment, cells, score, settings)


def run_sweep(
    sweep: Sweep,
    folder: str | os.PathLike[str],
    *,
    mode: Mode = "new",
    loggers: Sequence[Logger] = (),
) -> pd.DataFrame:
    """Train every cell from every seed, and select the best cell of each algorithm.

    Cells that differ in nothing but numbers are trained in one program. The folder is that of a
    run, and holds besides `sweep.yaml` (the grid), `sweep.csv` (the table that is returned) and
    `selected.yaml`, the experiment of the best cells, for `spectral run`; if there are any.

    ```python
    table = studies.run_sweep(studies.load_sweep("examples/sweeps/digits.yaml"), "runs/sweep")
    ```

    **Arguments:** as those of `run_experiment`.

    **Returns:** what `select` returns.

    **Raises:** `SettingsError` as `run_experiment` does.
    """
    folder = pathlib.Path(folder)
    results = run_experiment(sweep.experiment, folder, mode=mode, loggers=loggers)
    write_text(folder / "sweep.yaml", yaml.safe_dump(sweep.settings, sort_keys=False))
    table = select(results, sweep.cells, sweep.score)
    write_text(folder / "sweep.csv", _csv(table))
    if any(table["selected"]):
        write_text(folder / "selected.yaml", _selected(sweep, table))
    return table


def select(results: Results, cells: Mapping[str, Cell], score: Score) -> pd.DataFrame:
    """The score of every cell, and which is the best of its algorithm.

    A row for each cell: its `algorithm` and name (`cell`), the values that it has where the grid
    has several, `seeds` that finished and `diverged` ones, the mean `score` over the seeds that
    finished, the `half_width` of its 95 % interval (Student's t), and whether it is `selected`: the
    highest score among the cells of the algorithm of which every seed finished (the first of equal
    ones). Where there is none, none is selected.

    **Raises:** `SettingsError` if the run has not recorded the measure.
    """
    seeds = results.settings["seeds"]
    known = sorted({n for m in results.members for n in _measured(results, m.history)})
    if results.members:
        _check_measure(score, known)
    rows = []
    for name, cell in cells.items():
        members = results.of(name)
        done = [m for m in members if m.status == "finished"]
        by_seed = np.array([_value(results, m.history, score) for m in done])
        about = {
            "seeds": len(done),
            "diverged": sum(m.status == "diverged" for m in members),
            "score": float(np.mean(by_seed)) if done else math.nan,
            "half_width": float(student_half_width(by_seed)) if done else math.nan,
            "selected": False,
        }
        rows.append({"algorithm": cell.algorithm, "cell": name, **cell.values, **about})
    for algorithm in {row["algorithm"] for row in rows}:
        own = [row for row in rows if row["algorithm"] == algorithm and row["seeds"] == seeds]
        known = [row for row in own if not math.isnan(row["score"])]
        if known:
            max(known, key=lambda row: row["score"])["selected"] = True
    axes = list(dict.fromkeys(path for cell in cells.values() for path in cell.values))
    columns = ["algorithm", "cell", *axes, "seeds", "diverged", "score", "half_width", "selected"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def sweep_table(table: pd.DataFrame, score: Score) -> str:
    """What `select` returns as aligned text; the best cell of each algorithm is marked by `*`, and
    algorithms without one are named."""
    rows: list[list[str]] = []
    for row in table.to_dict(orient="records"):
        width = "" if math.isnan(row["half_width"]) else f" ± {row['half_width']:.2g}"
        level = "-" if math.isnan(row["score"]) else f"{row['score']:.4g}{width}"
        shown = {n: v for n, v in row.items() if n not in ("score", "half_width", "selected")}
        rows.append(["*" if row["selected"] else "", *map(_word, shown.values()), level])
    names = [str(n) for n in table.columns if n not in ("score", "half_width", "selected")]
    head = f"Score: {score}, with 95 % intervals (Student's t); * marks the best of an algorithm"
    text = f"{head}\n\n{align([['', *names, 'score'], *rows])}"
    lost = _lost(table)
    return f"{text}\n\n{lost}" if lost else text


def _word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    return "" if math.isnan(value) else f"{value:g}"


def _lost(table: pd.DataFrame) -> str:
    """Of which algorithms nothing was selected, as a sentence; empty if there are none."""
    best = set(table.loc[table["selected"], "algorithm"])
    names = [str(name) for name in dict.fromkeys(table["algorithm"]) if name not in best]
    why = "Nothing selected, for no cell finished from every seed with a score"
    return f"{why}: {', '.join(names)}." if names else ""


def _check_measure(score: Score, known: Iterable[str]) -> None:
    if score.measure not in known:
        raise SettingsError(unknown_name("`score.measure`: Measure", score.measure, known))


def _measured(results: Results, history: Any) -> list[str]:
    return list(measures(results.settings["probes"], history))


def _value(results: Results, history: Any, score: Score) -> float:
    series = measures(results.settings["probes"], history)[score.measure].series
    if score.over == "last":
        series = series[-max(1, len(series) // 5) :]
    known = series[np.isfinite(series)]
    return float(np.mean(known)) if len(known) else math.nan


def _score(settings: Mapping[str, Any]) -> Score:
    given = settings.get("score")
    example = "for example `score: {measure: accuracy, over: all}`"
    if not isinstance(given, Mapping) or not isinstance(given.get("measure"), str):
        raise SettingsError(
            f"`score` is {given!r}, but a sweep must say by what it selects: {example}."
        )
    for name in given:
        if name not in ("measure", "over"):
            raise SettingsError(unknown_name(f"`score.{name}`: Name", name, ("measure", "over")))
    over = given.get("over", "all")
    if over not in _OVER:
        raise SettingsError(unknown_name("`score.over`: Choice", str(over), _OVER))
    return Score(given["measure"], over)


def _csv(table: pd.DataFrame) -> str:
    file = io.StringIO()
    table.to_csv(file, index=False)
    return file.getvalue()


def _selected(sweep: Sweep, table: pd.DataFrame) -> str:
    """The experiment of the best cells."""
    settings = {n: v for n, v in sweep.experiment.settings.items() if n != RECORDED}
    best = table[table["selected"]]
    settings["algorithms"] = {
        str(algorithm): sweep.experiment.settings["algorithms"][cell]
        for algorithm, cell in zip(best["algorithm"], best["cell"], strict=True)
    }
    about = f"# The best of a sweep, by the {sweep.score}.\n"
    about += f"# {lost}\n" if (lost := _lost(table)) else ""
    return about + yaml.safe_dump(settings, sort_keys=False)
