"""Run folders as one xarray Dataset, and as tidy data frames."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ..._base._axes import frame_of, further_axes
from ..runs._results import Member, Results
from ._recorded import load_recorded, run_name


_AXES = ("run", "seed", "task")
_ABSENT = {"status": "", "message": "", "seconds": np.nan, "together": 0}


def load(folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> xr.Dataset:
    """Load the records of run folders as one Dataset with the axes (run, seed, task).

    A run is one algorithm of a folder. Its name is that of the algorithm, or `folder/algorithm` if
    there are several folders. The coordinates `folder` and `algorithm` hold both parts.

    Every column of the histories is a variable, with NaN where nothing was recorded. Training
    metrics have the additional axis `chunk`, and spectra have (`vector`, `node`). Other columns
    have axes named after the variable. The variables `status`, `message`, `seconds` (training time)
    and `together` (how many members were trained together in that time) describe each member.
    `status` is empty for a member that has recorded nothing.

    Folders can be loaded at any time, also during a run.

    ```python
    data = studies.load(["runs/digits", "runs/other"])
    data["test_accuracy"].mean("seed").plot(hue="run")
    ```

    **Raises:** `SettingsError` if a folder does not hold a run, or if nothing has been recorded.
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    alone = len(given) == 1
    runs = [
        _run(results, algorithm, run_name(results, algorithm, alone=alone))
        for results in load_recorded(given)
        for algorithm in results.settings["algorithms"]
    ]
    return xr.concat(
        runs,
        "run",
        join="outer",
        data_vars="all",
        coords="minimal",  # a run that has just begun has no axis of tasks
        fill_value={name: value for name, value in _ABSENT.items() if name != "seconds"},
    )


def tidy(data: xr.Dataset, *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """A data frame with a row for each run, seed and task (and chunk, node, ...).

    Rows without any recorded value are left out.

    ```python
    frame = studies.tidy(studies.load("runs/digits"))
    frame.groupby(["run", "task"])["test_accuracy"].mean()
    ```

    **Arguments:**

    - `data`: the Dataset of `load`.
    - `names`: variables with equal axes, which become the columns. By default all variables with
      the axes (run, seed, task).

    **Raises:** `ValueError` if a variable does not exist, or if their axes differ.
    """
    return frame_of(data.reset_coords(drop=True), names, _AXES)


def _run(results: Results, algorithm: str, name: str) -> xr.Dataset:
    """The Dataset of one algorithm of a folder, which has one run."""
    members = {member.seed: member for member in results.of(algorithm)}
    seeds = range(results.settings["seeds"])
    variables = {
        field: xr.DataArray([_fact(members.get(s), field) for s in seeds], {"seed": seeds}, "seed")
        for field in _ABSENT
    }
    for column in dict.fromkeys(c for member in members.values() for c in member.history):
        own = {s: m.history[column] for s, m in members.items() if column in m.history}
        tasks = max(len(values) for values in own.values())
        shape = next(iter(own.values())).shape[1:]
        values = np.full((len(seeds), tasks, *shape), np.nan)
        for seed, recorded in own.items():
            values[seed, : len(recorded)] = recorded
        axes = ("seed", "task", *further_axes(column, len(shape)))
        # With coordinates, variables of different lengths can be joined.
        places = {axis: range(size) for axis, size in zip(axes, values.shape, strict=True)}
        variables[column] = xr.DataArray(values, places, axes)
    data = xr.merge([variables], join="outer").expand_dims(run=[name])
    return data.assign_coords(folder=("run", [str(results.folder)]), algorithm=("run", [algorithm]))


def _fact(member: Member | None, field: str) -> object:
    return _ABSENT[field] if member is None else getattr(member, field)
