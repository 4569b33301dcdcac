"""The scores of the cells of a grid, and the best cell of each algorithm."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..._history import History
from ..experiment._grid import Cell
from ..measures._align import align
from ..measures._interval import student_half_width, with_interval
from ..measures._measure import last_fifth, mean_measured, measures
from ._results import Results
from ._score import check_measure, Score


def select(results: Results, cells: Mapping[str, Cell], score: Score) -> pd.DataFrame:
    """The score of every cell, and the best cell of each algorithm.

    The table has a row for each cell, with the columns

    - `algorithm`, and `cell` (its name);
    - one for each setting that varies in the grid, by its dotted path;
    - `seeds` and `diverged`: how many seeds finished, and how many diverged;
    - `score`: the mean over the seeds that finished, and `half_width`: half the width of its 95 %
      interval (Student's t);
    - the `reported` measure of the score, if there is one, by its name: the mean over the same
      tasks and seeds;
    - `selected`: whether the cell has the best score among the cells of its algorithm of which
      every seed finished. Of equal scores the first is selected. If there is no such cell, none is.

    **Raises:** `SettingsError` if the run has not recorded the measure, or if it does not say which
    values are better.
    """
    seeds = results.settings["seeds"]
    if results.members:
        known = {n: x.quantity for m in results.members for n, x in measures(m.history).items()}
        check_measure(score.measure, known)
    lower = _less_is_better(results, score)
    rows, reported = [], [] if score.reported is None else [score.reported]
    for name, cell in cells.items():
        done = results.of(name, status="finished")
        by_seed = np.array([_value(m.history, score.measure, score.over) for m in done])
        about = {
            "seeds": len(done),
            "diverged": len(results.of(name, status="diverged")),
            "score": float(np.mean(by_seed)) if done else math.nan,
            "half_width": float(student_half_width(by_seed)) if done else math.nan,
            **{
                name: float(np.mean([_value(m.history, name, score.over) for m in done]))
                if done
                else math.nan
                for name in reported
            },
            "selected": False,
        }
        rows.append({"algorithm": cell.algorithm, "cell": name, **cell.values, **about})
    for algorithm in {row["algorithm"] for row in rows}:
        own = [row for row in rows if row["algorithm"] == algorithm and row["seeds"] == seeds]
        scored = [row for row in own if not math.isnan(row["score"])]
        if scored:
            best = min if lower else max
            best(scored, key=lambda row: row["score"])["selected"] = True
    axes = list(dict.fromkeys(path for cell in cells.values() for path in cell.values))
    columns = ["algorithm", "cell", *axes, "seeds", "diverged", "score", "half_width"]
    columns += [*reported, "selected"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def sweep_table(table: pd.DataFrame, score: Score) -> str:
    """The table of `select` as aligned text.

    The best cell of each algorithm is marked by `*`. A sentence names the algorithms without one.
    """
    rows: list[list[str]] = []
    for row in table.to_dict(orient="records"):
        level = with_interval(row["score"], row["half_width"], digits=4)
        shown = {n: v for n, v in row.items() if n not in ("score", "half_width", "selected")}
        rows.append(["*" if row["selected"] else "", *map(_cell, shown.values()), level])
    names = [str(n) for n in table.columns if n not in ("score", "half_width", "selected")]
    head = f"Score: {score}, with 95 % intervals (Student's t); * marks the best of an algorithm"
    if score.reported is not None:
        head += f".\nThe {score.rows} rows choose; {score.reported} is that of the test rows"
    text = f"{head}\n\n{align([['', *names, 'score'], *rows])}"
    unselected = without_selection(table)
    return f"{text}\n\n{unselected}" if unselected else text


def without_selection(table: pd.DataFrame) -> str:
    """A sentence that names the algorithms without a selected cell; empty if there are none."""
    best = set(table.loc[table["selected"], "algorithm"])
    names = [str(name) for name in dict.fromkeys(table["algorithm"]) if name not in best]
    why = "Nothing selected, because no cell finished from every seed with a score"
    return f"{why}: {', '.join(names)}." if names else ""


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    return "" if math.isnan(value) else f"{value:g}"


def _value(history: History, measure: str, over: str) -> float:
    series = measures(history)[measure].series
    return mean_measured(last_fifth(series) if over == "last" else series)


def _less_is_better(results: Results, score: Score) -> bool:
    found = (measures(m.history).get(score.measure) for m in results.members)
    return any(measure.quantity.better == "lower" for measure in found if measure is not None)
