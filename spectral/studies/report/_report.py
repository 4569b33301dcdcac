"""One page about runs, which a browser opens without a network."""

import datetime
import json
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..experiment._settings import SettingsError
from ..figures._curvature_figure import curvature_points
from ..figures._panels import COLOURS, column, finished, hessian_probes
from ..measures._interval import student_half_width
from ..measures._measures import Measure, measures, MOMENTS
from ..runs._folder import load_results, Member, Results, write_text


_FRACTIONS = (
    "accuracy",
    "online accuracy",
    "dead units",
    "normalised epsilon-rank",
)  # between 0 and 1


def write_report(
    folders: Iterable[str | os.PathLike[str]], path: str | os.PathLike[str]
) -> pathlib.Path:
    """Write a page about the runs in these folders: one file, which needs no network.

    It shows every measure over tasks, with switches for algorithms and seeds; the spectra of the
    Hessian, with a slider over tasks; accuracy against curvature, under the published estimator and
    under the quadrature; a table of the runs; and all settings, with the commands that made them.
    Runs that have not finished are shown as far as they are.

    ```python
    studies.write_report(["runs/digits"], "report.html")
    ```

    **Returns:** `path`.

    **Raises:** `SettingsError` if a folder holds no run, if nothing has been recorded yet, or if
    the page cannot be written.
    """
    paths = [pathlib.Path(folder) for folder in folders]
    results = [load_results(folder) for folder in paths]
    if not any(result.members for result in results):
        raise SettingsError(
            f"Nothing has been recorded yet in {', '.join(map(str, paths))}: wait until the run "
            "has trained its first tasks, or name other folders."
        )
    runs = [run for result in results for run in _runs(result, alone=len(results) == 1)]
    # Of a sweep the best are shown to begin with, and so get colours of their own.
    for index, run in enumerate(sorted(runs, key=lambda run: not run["shown"])):
        run["colour"] = COLOURS[index % len(COLOURS)]
    names = dict.fromkeys(name for run in runs for name in run["curves"])
    when = {name: c["when"] for run in runs for name, c in run["curves"].items()}
    spectra = [run["spectrum"] for run in runs if run["spectrum"]]
    epsilons = {r.settings["probes"][p]["epsilon"] for r in results for p in hessian_probes(r)[:1]}
    data = {
        "written": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "folders": [_folder(result) for result in results],
        "epsilon": " or ".join(f"{epsilon:g}" for epsilon in sorted(epsilons)),
        "measures": [
            {"name": n, "when": when[n], "fraction": n.split(" (")[0] in _FRACTIONS} for n in names
        ],
        "runs": runs,
        "spectrum_tasks": sorted({task for spectrum in spectra for task in spectrum["tasks"]}),
    }
    files = resources.files("spectral.studies.report")
    page = files.joinpath("_report.html").read_text(encoding="utf-8")
    script = files.joinpath("_report.js").read_text(encoding="utf-8")
    # What stands in a script element must not end it.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    path = pathlib.Path(path)
    try:
        write_text(path, page.replace("__SCRIPT__", script).replace("__DATA__", text))
    except OSError as error:
        raise SettingsError(f"`--out` cannot be written to: {error}.") from error
    return path


def _runs(results: Results, *, alone: bool) -> list[dict[str, Any]]:
    points = curvature_points(results)
    selected = _selected(results)
    return [
        {
            "name": algorithm if alone else f"{results.folder}/{algorithm}",
            "shown": selected is None or algorithm in selected,
            "settings": results.settings["algorithms"][algorithm],
            "seeds": [m.seed for m in results.of(algorithm)],
            "finished": [m.seed for m in results.of(algorithm) if m.status == "finished"],
            "unfinished": [m.seed for m in results.of(algorithm) if m.status == "unfinished"],
            "diverged": [
                f"seed {m.seed}: {m.message}"
                for m in results.of(algorithm)
                if m.status == "diverged"
            ],
            **_curves(results, results.of(algorithm)),
            "spectrum": _spectrum(results, algorithm),
            "points": {
                name: _numbers(values) for name, values in points[algorithm]._asdict().items()
            }
            if algorithm in points
            else None,
        }
        for algorithm in results.settings["algorithms"]
    ]


def _curves(results: Results, members: Sequence[Member]) -> dict[str, Any]:
    """Of each measure, the curves of all seeds and their mean; and its level in the end."""
    recorded = {m.seed: measures(results.settings["probes"], m.history) for m in members}
    done = [m.seed for m in members if m.status == "finished"]
    curves, last = {}, {}
    for name in dict.fromkeys(name for known in recorded.values() for name in known):
        own = {seed: known[name] for seed, known in recorded.items() if name in known}
        length = max(len(measure.series) for measure in own.values())
        padded = {seed: _padded(measure, length) for seed, measure in own.items()}
        tasks = np.flatnonzero(np.isfinite(np.stack(list(padded.values()))).any(axis=0))
        curves[name] = {
            "when": MOMENTS[next(iter(own.values())).when],
            "tasks": tasks.tolist(),
            "seeds": {seed: _numbers(series[tasks]) for seed, series in padded.items()},
            "mean": [],
            "half_width": None,
        }
        averaged = [padded[seed] for seed in done if seed in padded]
        if averaged:
            together = np.stack(averaged)
            curves[name]["mean"] = _numbers(together[:, tasks].mean(axis=0))
            curves[name]["half_width"] = _numbers(student_half_width(together[:, tasks]))
            last[name] = _level(together[:, -max(1, length // 5) :])
    return {"curves": curves, "last": last}


def _padded(measure: Measure, length: int) -> np.ndarray:
    series = np.full(length, np.nan)
    series[: len(measure.series)] = measure.series
    return series


def _level(series: np.ndarray) -> str:
    """The mean over the last fifth of the tasks, with its interval over seeds."""
    known = np.isfinite(series).all(axis=0)
    if not known.any():
        return "-"
    by_seed = series[:, known].mean(axis=1)
    half_width = float(student_half_width(by_seed))
    return f"{by_seed.mean():.3g}" + ("" if math.isnan(half_width) else f" ± {half_width:.2g}")


def _spectrum(results: Results, algorithm: str) -> dict[str, Any] | None:
    """The quadratures that the first seed to have finished has recorded."""
    members = dict(finished(results)).get(algorithm)
    if not members or not hessian_probes(results):
        return None
    probe = hessian_probes(results)[0]
    when, nodes = column(members[0], probe, "nodes")
    weights = column(members[0], probe, "weights")[1]
    tasks = np.flatnonzero(np.isfinite(nodes).all(axis=(1, 2)))
    return {
        "seed": members[0].seed,
        "when": MOMENTS[when],
        "tasks": tasks.tolist(),
        "nodes": _numbers(nodes[tasks]),
        "weights": _numbers(weights[tasks]),
    }


def _folder(results: Results) -> dict[str, Any]:
    recorded = results.settings.get("recorded", {})
    selection = results.folder / "sweep.csv"
    return {
        "folder": str(results.folder),
        "command": recorded.get("command", ""),
        "config": yaml.safe_dump(results.settings, sort_keys=False),
        "sweep": selection.read_text() if selection.exists() else None,
    }


def _selected(results: Results) -> set[str] | None:
    """The best cells, if the run is a sweep that has ended."""
    path = results.folder / "sweep.csv"
    if not path.exists():
        return None
    table = pd.read_csv(path)
    return set(table.loc[table["selected"], "cell"])


def _numbers(values: np.ndarray | np.number) -> Any:
    """Lists of numbers of five digits, with `None` for what is not finite."""
    if isinstance(values, np.ndarray) and values.ndim:
        return [_numbers(value) for value in values]
    number = float(values)
    return float(f"{number:.5g}") if math.isfinite(number) else None
