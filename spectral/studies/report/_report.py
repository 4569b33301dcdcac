"""A page about runs, which a browser opens without a network connection."""

import datetime
import json
import os
import pathlib
from collections.abc import Iterable
from importlib import resources
from typing import Any

import numpy as np
import yaml

from ..analysis._curvature_points import curvature_points, CurvaturePoints
from ..analysis._finite import finite
from ..analysis._foremost import foremost, selected_cells
from ..analysis._labels import labels
from ..analysis._recorded import load_recorded, run_name
from ..analysis._spectra import column, densities, hessian_probes, spaced
from ..analysis._summary import summarise
from ..experiment._settings import given_path, SettingsError
from ..figures._style import palette
from ..measures._interval import with_interval
from ..measures._measure import MOMENTS
from ..runs._atomic_write import write_text
from ..runs._results import Results
from ._curves import COLUMNS, curves, DIGITS, panels
from ._predictors_section import predictor_tables
from ._replaceable import check_replaceable


_MAX_POINTS = 4000  # tasks and seeds whose curvature is drawn, of all algorithms of a run together
_MAX_SPECTRA = 1000  # densities, of all algorithms of a run together
_MAX_TASKS = 50  # densities of one algorithm
_GRID = 300  # intervals of a density
_LOWEST = -5.0  # logarithms of densities that are shown


def write_report(
    folders: Iterable[str | os.PathLike[str]], path: str | os.PathLike[str]
) -> pathlib.Path:
    """Write one self-contained page about the runs in these folders.

    The page shows every measure over tasks, with switches for algorithms and seeds; the spectra of
    the Hessian, with a slider over tasks; performance against curvature, for the published
    estimator and for the quadrature; signs as predictors of trainability, if that was recorded; a
    table of the runs; and all settings, with the commands of the runs.
    Unfinished runs are shown with what they have recorded so far. Of many tasks, each line has the
    smallest and the largest value in every column of pixels. The page first shows the selected
    cells of a sweep, or at most 20 algorithms; the switches show the others.

    ```python
    studies.write_report(["runs/digits"], "report.html")
    ```

    **Returns:** `path`.

    **Raises:** `SettingsError` if a folder does not hold a run, if nothing has been recorded yet,
    if there is a file at `path` that is not a report, or if the page cannot be written.
    """
    path = given_path("--out", path)
    check_replaceable(path)
    if path.is_dir():
        raise SettingsError(
            f"`--out` is {str(path)!r}, which is a folder: name a file, such as "
            f"{str(path / 'report.html')!r}."
        )
    results = load_recorded(folders)
    num_tasks = max(member.history.num_tasks for result in results for member in result.members)
    alone = len(results) == 1
    runs = [run for result in results for run in _runs(result, num_tasks, alone=alone)]
    # What is shown at first gets the first colours, which are the easiest to tell apart.
    ordered = sorted(runs, key=lambda run: not run["shown"])
    for run, colour in zip(ordered, palette(len(runs)), strict=True):
        run["colour"] = colour
    spectra = [run["spectrum"] for run in runs if run["spectrum"]]
    epsilons = {probe.epsilon for result in results for probe in hessian_probes(result)[:1]}
    data = {
        "written": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "folders": [_folder(result) for result in results],
        "epsilon": " or ".join(f"{epsilon:g}" for epsilon in sorted(epsilons)),
        "columns": COLUMNS,
        "num_tasks": num_tasks,
        "measures": panels(member for result in results for member in result.members),
        "runs": runs,
        "tables": predictor_tables(results),
        "spectrum_tasks": sorted({task for spectrum in spectra for task in spectrum["tasks"]}),
    }
    files = resources.files("spectral.studies.report")
    page = files.joinpath("_report.html").read_text(encoding="utf-8")
    script = files.joinpath("_report.js").read_text(encoding="utf-8")
    # Escaped, because a "</script>" in the data would end the script element.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    try:
        write_text(path, page.replace("__SCRIPT__", script).replace("__DATA__", text))
    except OSError as error:
        raise SettingsError(f"`--out` cannot be written to: {error}.") from error
    return path


def _runs(results: Results, num_tasks: int, *, alone: bool) -> list[dict[str, Any]]:
    points = curvature_points(results, max_spectra=_MAX_POINTS)
    shown = selected_cells(results) or set(foremost(results))
    levels, names = summarise(results)["algorithms"], labels(results)
    probe = next((probe.name for probe in hessian_probes(results)), None)
    return [
        {
            "name": run_name(results, algorithm, alone=alone),
            "label": names[algorithm] if alone else f"{results.folder}/{names[algorithm]}",
            "shown": algorithm in shown,
            "settings": settings,
            "seeds": [m.seed for m in results.of(algorithm)],
            "finished": levels[algorithm]["finished"],
            "unfinished": levels[algorithm]["unfinished"],
            "diverged": [
                f"seed {m.seed}: {m.message}" for m in results.of(algorithm, status="diverged")
            ],
            "curves": curves(results.of(algorithm), num_tasks=num_tasks),
            "last": {
                name: with_interval(level["mean"], level["half_width"])
                for name, level in levels[algorithm]["measures"].items()
            },
            "spectrum": _spectrum(results, algorithm, probe),
            "points": _points(points.get(algorithm)),
        }
        for algorithm, settings in results.settings["algorithms"].items()
    ]


def _spectrum(results: Results, algorithm: str, probe: str | None) -> dict[str, Any] | None:
    """The densities of the first seed that finished, as logarithms on a grid."""
    members = results.of(algorithm, status="finished")
    if not members or probe is None:
        return None
    when, nodes = column(members[0], probe, "nodes")
    measured = np.flatnonzero(np.isfinite(nodes).all(axis=(1, 2)))
    if not len(measured):
        return None
    count = min(_MAX_TASKS, max(2, _MAX_SPECTRA // len(results.settings["algorithms"])))
    tasks = spaced(measured, count)
    nodes, weights = nodes[tasks], column(members[0], probe, "weights")[1][tasks]
    width = max(float(nodes.max() - nodes.min()) / 150, 1e-9)
    ends = float(nodes.min()) - 4 * width, float(nodes.max()) + 4 * width
    values = densities(nodes, weights, np.linspace(*ends, _GRID + 1), width=width)
    logarithms = np.log10(np.maximum(values, 10.0**_LOWEST))
    return {
        "seed": members[0].seed,
        "when": MOMENTS[when],
        "tasks": tasks.tolist(),
        "ends": finite(np.array(ends), digits=DIGITS),
        "width": finite(width, digits=DIGITS),
        "densities": finite(np.round(logarithms, 2)),
    }


def _points(points: CurvaturePoints | None) -> dict[str, Any] | None:
    if points is None:
        return None
    columns = points._asdict()
    quantity = columns.pop("quantity")
    about = {"label": quantity.axis, "limits": quantity.limits}
    return about | {n: finite(v, digits=DIGITS) for n, v in columns.items()}


def _folder(results: Results) -> dict[str, Any]:
    selection = results.folder / "sweep.csv"
    return {
        "folder": str(results.folder),
        "command": results.recorded.get("command", ""),
        "config": yaml.safe_dump(results.settings, sort_keys=False),
        "sweep": selection.read_text() if selection.exists() else None,
    }
