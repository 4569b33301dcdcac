"""A page about runs, which a browser opens without a network connection."""

import datetime
import json
import os
import pathlib
from collections.abc import Iterable
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..analysis._curvature_points import curvature_points, CurvaturePoints
from ..analysis._finite import finite
from ..analysis._recorded import load_recorded, run_name
from ..analysis._spectra import column, hessian_probes
from ..analysis._summary import summarise
from ..experiment._settings import given_path, SettingsError
from ..figures._style import COLOURS
from ..measures._interval import student_half_width, with_interval
from ..measures._measure import Measure, measures, MOMENTS
from ..runs._atomic_write import write_text
from ..runs._results import Results
from ._replaceable import check_replaceable


_DIGITS = 5  # of the numbers in the page


def write_report(
    folders: Iterable[str | os.PathLike[str]], path: str | os.PathLike[str]
) -> pathlib.Path:
    """Write one self-contained page about the runs in these folders.

    The page shows every measure over tasks, with switches for algorithms and seeds; the spectra of
    the Hessian, with a slider over tasks; performance against curvature, for the published
    estimator and for the quadrature; a table of the runs; and all settings, with the commands of
    the runs.
    Unfinished runs are shown with what they have recorded so far.

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
    runs = [run for result in results for run in _runs(result, alone=len(results) == 1)]
    # The best cells of a sweep are shown first, so they get the first colours.
    for index, run in enumerate(sorted(runs, key=lambda run: not run["shown"])):
        run["colour"] = COLOURS[index % len(COLOURS)]
    curves = {name: curve for run in runs for name, curve in run["curves"].items()}
    spectra = [run["spectrum"] for run in runs if run["spectrum"]]
    epsilons = {probe.epsilon for result in results for probe in hessian_probes(result)[:1]}
    data = {
        "written": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "folders": [_folder(result) for result in results],
        "epsilon": " or ".join(f"{epsilon:g}" for epsilon in sorted(epsilons)),
        "measures": [
            {"name": name, "when": curve["when"], "limits": curve["limits"]}
            for name, curve in curves.items()
        ],
        "runs": runs,
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


def _runs(results: Results, *, alone: bool) -> list[dict[str, Any]]:
    points = curvature_points(results)
    selected = _selected(results)
    levels = summarise(results)["algorithms"]
    return [
        {
            "name": run_name(results, algorithm, alone=alone),
            "shown": selected is None or algorithm in selected,
            "settings": settings,
            "seeds": [m.seed for m in results.of(algorithm)],
            "finished": levels[algorithm]["finished"],
            "unfinished": levels[algorithm]["unfinished"],
            "diverged": [
                f"seed {m.seed}: {m.message}" for m in results.of(algorithm, status="diverged")
            ],
            "curves": _curves(results, algorithm),
            "last": {
                name: with_interval(level["mean"], level["half_width"])
                for name, level in levels[algorithm]["measures"].items()
            },
            "spectrum": _spectrum(results, algorithm),
            "points": _points(points.get(algorithm)),
        }
        for algorithm, settings in results.settings["algorithms"].items()
    ]


def _curves(results: Results, algorithm: str) -> dict[str, Any]:
    """The curves of all seeds for each measure, and their mean over the finished seeds."""
    members = results.of(algorithm)
    recorded = {m.seed: measures(m.history) for m in members}
    finished = [m.seed for m in members if m.status == "finished"]
    curves = {}
    for name in dict.fromkeys(name for known in recorded.values() for name in known):
        own = {seed: known[name] for seed, known in recorded.items() if name in known}
        length = max(len(measure.series) for measure in own.values())
        padded = {seed: _padded(measure, length) for seed, measure in own.items()}
        tasks = np.flatnonzero(np.isfinite(np.stack(list(padded.values()))).any(axis=0))
        curves[name] = {
            "when": MOMENTS[next(iter(own.values())).when],
            "limits": next(iter(own.values())).quantity.limits,
            "tasks": tasks.tolist(),
            "seeds": {seed: finite(s[tasks], digits=_DIGITS) for seed, s in padded.items()},
            "mean": [],
            "half_width": None,
        }
        averaged = [padded[seed][tasks] for seed in finished if seed in padded]
        if averaged:
            by_seed = np.stack(averaged)
            curves[name]["mean"] = finite(by_seed.mean(axis=0), digits=_DIGITS)
            curves[name]["half_width"] = finite(student_half_width(by_seed), digits=_DIGITS)
    return curves


def _padded(measure: Measure, length: int) -> np.ndarray:
    series = np.full(length, np.nan)
    series[: len(measure.series)] = measure.series
    return series


def _spectrum(results: Results, algorithm: str) -> dict[str, Any] | None:
    """The quadratures of the first seed that finished."""
    members = results.of(algorithm, status="finished")
    if not members or not hessian_probes(results):
        return None
    probe = hessian_probes(results)[0].name
    when, nodes = column(members[0], probe, "nodes")
    weights = column(members[0], probe, "weights")[1]
    tasks = np.flatnonzero(np.isfinite(nodes).all(axis=(1, 2)))
    return {
        "seed": members[0].seed,
        "when": MOMENTS[when],
        "tasks": tasks.tolist(),
        "nodes": finite(nodes[tasks], digits=_DIGITS),
        "weights": finite(weights[tasks], digits=_DIGITS),
    }


def _points(points: CurvaturePoints | None) -> dict[str, Any] | None:
    if points is None:
        return None
    columns = points._asdict()
    quantity = columns.pop("quantity")
    about = {"label": quantity.axis, "limits": quantity.limits}
    return about | {n: finite(v, digits=_DIGITS) for n, v in columns.items()}


def _folder(results: Results) -> dict[str, Any]:
    selection = results.folder / "sweep.csv"
    return {
        "folder": str(results.folder),
        "command": results.recorded.get("command", ""),
        "config": yaml.safe_dump(results.settings, sort_keys=False),
        "sweep": selection.read_text() if selection.exists() else None,
    }


def _selected(results: Results) -> set[str] | None:
    """The best cells; `None` if the run is not a sweep or has not finished."""
    path = results.folder / "sweep.csv"
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path)
        return set(table.loc[table["selected"].astype(bool), "cell"])
    except (ValueError, KeyError) as error:
        raise SettingsError(
            f"{str(path)!r} is not the table of a sweep: {error}. Write it again with `spectral "
            "sweep --resume`."
        ) from error
