"""Run folders as one xarray Dataset, and as tidy data frames."""

import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ..experiment._settings import SettingsError
from ..runs._folder import load_results, Member, Results


_SPECTRUM = ("probe_vector", "node")
_AXES = ("run", "seed", "task")


def load(folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> xr.Dataset:
    """What the runs in these folders have recorded, as one Dataset over (run, seed, task).

    A run is an algorithm of a folder; it is called by the algorithm's name, and by
    `folder/algorithm` where several folders are given. Every column of the histories is a variable,
    with further axes `chunk` for metrics of training, (`probe_vector`, `node`) for spectra, and
    others by the variable's own name; what was not recorded is NaN. `status` and `message` say what
    became of each member (empty where it has recorded nothing), `seconds` for how long it was
    trained, together with `together` members in all. The coordinates `folder` and `algorithm`
    belong to the runs. Folders can be loaded at any moment, also while a run goes on.

    ```python
    data = studies.load(["runs/digits", "runs/other"])
    data["test_accuracy"].mean("seed").plot(hue="run")
    ```

    **Raises:** `SettingsError` if a folder holds no run, or if no run has recorded anything.
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    paths = [pathlib.Path(folder) for folder in given]
    results = [load_results(path) for path in paths]
    if not any(result.members for result in results):
        raise SettingsError(
            f"Nothing has been recorded yet in {', '.join(map(repr, map(str, paths)))}: wait until "
            "the run has trained its first tasks, or name other folders."
        )
    runs = [_run(result, alone=len(paths) == 1) for result in results]
    return xr.concat(
        [run for several in runs for run in several],
        "run",
        join="outer",
        data_vars="all",
        coords="minimal",  # a run that has just begun has no axis of tasks
        fill_value={"status": "", "message": "", "together": 0},
    )


def tidy(data: xr.Dataset, *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """A data frame with a row for each run, seed and task (and chunk, node, ...).

    ```python
    frame = studies.tidy(studies.load("runs/digits"))
    frame.groupby(["run", "task"])["test_accuracy"].mean()
    ```

    **Arguments:**

    - `data`: what `load` returns.
    - `names`: variables of equal axes, each a column; by default all those that have one number for
      each run, seed and task.

    Rows in which none of them was recorded are left out.

    **Raises:** `ValueError` for a variable that is not there, or if their axes differ.
    """
    if names is None:
        names = [str(n) for n, v in data.data_vars.items() if v.dims == _AXES]
    for name in names:
        if name not in data:
            raise ValueError(
                f"`names` has {name!r}, which was not recorded: choose among "
                f"{', '.join(sorted(map(str, data.data_vars)))}."
            )
    axes = {name: data[name].dims for name in names}
    if len(set(axes.values())) > 1:
        raise ValueError(
            f"`names` has variables of different axes, {axes}: make a frame for each kind."
        )
    frame = data[list(names)].reset_coords(drop=True).to_dataframe()
    return frame.dropna(how="all").reset_index()


def _run(results: Results, *, alone: bool) -> list[xr.Dataset]:
    """A Dataset for each algorithm of a folder, of one run each."""
    found = []
    seeds = results.settings["seeds"]
    for algorithm in results.settings["algorithms"]:
        members = {member.seed: member for member in results.of(algorithm)}
        name = algorithm if alone else f"{results.folder}/{algorithm}"
        absent = {"status": "", "message": "", "seconds": np.nan, "together": 0}
        variables = {
            field: xr.DataArray(
                [_known(members, s, field, value) for s in range(seeds)],
                dims="seed",
                coords={"seed": range(seeds)},
            )
            for field, value in absent.items()
        }
        columns = dict.fromkeys(c for member in members.values() for c in member.history)
        for column in columns:
            own = {s: m.history[column] for s, m in members.items() if column in m.history}
            tasks = max(len(values) for values in own.values())
            shape = next(iter(own.values())).shape[1:]
            values = np.full((seeds, tasks, *shape), np.nan)
            for seed, recorded in own.items():
                values[seed, : len(recorded)] = recorded
            axes = ("seed", "task", *_further_axes(column, len(shape)))
            # Numbered, so that those of other lengths can be joined.
            places = {axis: range(size) for axis, size in zip(axes, values.shape, strict=True)}
            variables[column] = xr.DataArray(values, places, axes)
        data = xr.merge([variables], join="outer")
        data = data.expand_dims(run=[name])
        data = data.assign_coords(
            folder=("run", [str(results.folder)]), algorithm=("run", [algorithm])
        )
        found.append(data)
    return found


def _known(members: dict[int, Member], seed: int, field: str, absent: object) -> object:
    return getattr(members[seed], field) if seed in members else absent


def _further_axes(column: str, count: int) -> tuple[str, ...]:
    """The names of the axes of a column after that over tasks."""
    if "." not in column and count == 1:
        return ("chunk",)
    if column.endswith((".nodes", ".weights")) and count == 2:
        return _SPECTRUM
    return tuple(f"{column}.{axis}" for axis in range(count))
