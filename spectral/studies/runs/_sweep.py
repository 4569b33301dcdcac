"""Sweeps: a run over a grid of settings for each algorithm, from which the best is selected."""

import dataclasses
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from ..experiment._experiment import Experiment, RECORDED
from ..experiment._grid import Cell, expand
from ..experiment._make import make_experiment
from ..experiment._own_parts import OWN_PARTS, own_parts
from ..experiment._settings import given_path, SettingsError
from ..published._load import read_experiment
from ._atomic_write import write_text
from ._folder import Mode
from ._run import run_experiment
from ._score import check_recorded_score, check_score, Score, score_of
from ._selection import select, without_selection
from .cluster._cluster import AbstractCluster, Logger
from .cluster._this_process import ThisProcess


_HERE = ThisProcess()


@dataclasses.dataclass(frozen=True)
class Sweep:
    """An experiment whose algorithms are the cells of a grid, and the score that selects a cell."""

    experiment: Experiment
    cells: dict[str, Cell]
    score: Score
    settings: dict[str, Any]  # as they were given, with the grid


def load_sweep(
    path: str | os.PathLike[str],
    *,
    assignments: Iterable[str] = (),
    seeds: int | None = None,
    data_dir: str | None = None,
) -> Sweep:
    """Load the sweep that a YAML file describes.

    The file is that of an experiment with two additions: an argument of an algorithm may be a grid
    such as `{grid: [1e-2, 1e-3]}`, and there may be a `score` such as `{measure: accuracy, over:
    all}`. Without a measure, validation rows choose if the stream has any.
    See `examples/sweeps/digits.yaml`.

    ```python
    sweep = studies.load_sweep("examples/sweeps/digits.yaml", seeds=1)
    ```

    **Arguments:** as for `load_experiment`.

    **Raises:** `SettingsError` for the first mistake in the file.
    """
    settings, benchmark = read_experiment(path, assignments, seeds=seeds)
    check_score(settings)
    algorithms = settings.get("algorithms")
    cells = expand(algorithms) if isinstance(algorithms, Mapping) else {}
    plain = {name: value for name, value in settings.items() if name != "score"}
    if cells:
        plain["algorithms"] = {name: cell.settings for name, cell in cells.items()}
    folder = given_path("path", path).parent
    experiment = make_experiment(plain, data_dir=data_dir, benchmark=benchmark, folder=folder)
    score = score_of(settings, experiment.quantities)
    return Sweep(experiment, cells, score, settings)


def sweep_of(
    experiment: Experiment, *, cells: Mapping[str, Sequence[str]], score: Score | None = None
) -> Sweep:
    """Make a sweep of an experiment whose algorithms are the cells.

    ```python
    experiment = studies.experiment_of(
        stream=stream,
        model=functools.partial(models.MLP, stream.in_size, stream.out_size, width=8),
        algorithms={"slow": algorithms.bp(0.01), "fast": algorithms.bp(0.1)},
    )
    score = studies.Score("accuracy", "all")
    sweep = studies.sweep_of(experiment, cells={"bp": ["slow", "fast"]}, score=score)
    table = studies.run_sweep(sweep, "runs/sweep")
    ```

    **Arguments:**

    - `cells`: for each algorithm the names of its cells, of which one is selected. Each algorithm
      of the experiment must be a cell of exactly one.
    - `score`: what the cells are selected by. By default validation rows choose if the stream has
      any, see `load_sweep`.

    **Raises:** `SettingsError` if the cells are not the algorithms of the experiment, if it does
    not record the measure of the score, or if it does not say which values are better.
    """
    named = sorted(cell for own in cells.values() for cell in own)
    if named != sorted(experiment.algorithms):
        raise SettingsError(
            f"`cells` has the cells {', '.join(named)}, but must have each algorithm of the "
            f"experiment once: {', '.join(sorted(experiment.algorithms))}. Add or remove names."
        )
    section = {} if score is None else {"measure": score.measure, "over": score.over}
    check_score({"score": section})
    score = score_of({"score": section}, experiment.quantities)
    settings = experiment.settings
    owned = {cell: name for name, own in cells.items() for cell in own}
    points = {
        cell: Cell(owned[cell], {}, settings["algorithms"][cell]) for cell in experiment.algorithms
    }
    listed = {name: list(own) for name, own in cells.items()}
    return Sweep(experiment, points, score, settings | {"cells": listed, "score": section})


def run_sweep(
    sweep: Sweep,
    folder: str | os.PathLike[str],
    *,
    mode: Mode = "new",
    loggers: Sequence[Logger] = (),
    keep_every: int | None = None,
    cluster: AbstractCluster = _HERE,
) -> pd.DataFrame:
    """Train every cell from every seed, and select the best cell of each algorithm.

    Cells that differ only in the values of numbers are trained in one program. The folder is that
    of a run, with three more files: `sweep.yaml` (the settings with the grid), `sweep.csv` (the
    returned table) and, if a cell was selected, `selected.yaml` (the experiment of the best cells,
    for `spectral run`; not for parts that were made in Python).

    ```python
    table = studies.run_sweep(studies.load_sweep("examples/sweeps/digits.yaml"), "runs/sweep")
    ```

    **Arguments:** as for `run_experiment`.

    **Returns:** the table of `select`.

    **Raises:** `SettingsError` as `run_experiment` does, and, before anything is trained, if the
    experiment does not record the measure of the score, or does not say which of its values are
    better.
    """
    folder = given_path("folder", folder)
    check_recorded_score(sweep.score, sweep.experiment.quantities)
    results = run_experiment(
        sweep.experiment,
        folder,
        mode=mode,
        loggers=loggers,
        keep_every=keep_every,
        cluster=cluster,
    )
    write_text(folder / "sweep.yaml", _text(sweep, sweep.settings))
    table = select(results, sweep.cells, sweep.score)
    write_text(folder / "sweep.csv", _csv(table))
    if any(table["selected"]) and not sweep.experiment.made_in_python:
        write_text(folder / "selected.yaml", _selected(sweep, table))
    return table


def _csv(table: pd.DataFrame) -> str:
    file = io.StringIO()
    table.to_csv(file, index=False)
    return file.getvalue()


def _selected(sweep: Sweep, table: pd.DataFrame) -> str:
    """The experiment of the best cells, as YAML."""
    given = sweep.experiment.settings
    best = table[table["selected"]]
    algorithms = {
        str(algorithm): given["algorithms"][cell]
        for algorithm, cell in zip(best["algorithm"], best["cell"], strict=True)
    }
    about = f"# The best cells of a sweep, by the {sweep.score}.\n"
    about += f"# {unselected}\n" if (unselected := without_selection(table)) else ""
    return about + _text(sweep, given | {"algorithms": algorithms})


def _text(sweep: Sweep, settings: Mapping[str, Any]) -> str:
    """Settings as YAML, with the folders in which modules of one's own are found."""
    own = own_parts(settings, sweep.experiment.folders)
    known = {} if own is None else {RECORDED: {OWN_PARTS: {"folders": own["folders"]}}}
    return yaml.safe_dump({**settings, **known}, sort_keys=False)
