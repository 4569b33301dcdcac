"""The summary of a run as text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..measures._align import align
from ..measures._interval import with_interval
from ..measures._measure import MOMENTS
from ._collapse import WINDOW


def table(summary: Mapping[str, Any]) -> str:
    """The result of `summarise` as aligned text."""
    algorithms = summary["algorithms"]
    first, end = summary["last_tasks"]
    parts = [f"Mean over seeds of tasks {first} to {end - 1}, with 95 % intervals (Student's t)"]
    names = _names(algorithms, "measures")
    moments = {n: _moment(algorithms, n) for n in names}
    rows = [["", "seeds", *names], ["", "", *moments.values()]]
    for name, algorithm in algorithms.items():
        measured = algorithm["measures"]
        rows.append([name, _seeds(algorithm), *(_mean(measured.get(n)) for n in names)])
    parts.append(align(rows))
    notes = [note for n in names for note in _notes(algorithms, n)]
    names = _names(algorithms, "collapse")
    if names:
        parts.append("Task of collapse: median over the seeds that collapsed (how many did)")
        rows = [["", *names, "collapsed first (seeds)"]]
        for name, algorithm in algorithms.items():
            tasks = [_collapse(algorithm["collapse"].get(n)) for n in names]
            rows.append([name, *tasks, _came_first(algorithm["first"])])
        parts.append(align(rows))
        parts.append(
            "Drop by a rank test with 5 % false alarms: median task over the seeds with a drop "
            "(how many have one)"
        )
        rows = [["", *names]]
        rows += [
            [name, *(_drop(algorithm["drops"].get(n)) for n in names)]
            for name, algorithm in algorithms.items()
        ]
        parts.append(align(rows))
        notes += [
            _lead(name, quantity, lead)
            for name, algorithm in algorithms.items()
            for quantity, lead in algorithm["lead_times"].items()
            if lead["both"]
        ]
        notes.append(
            f"collapse: from that task on, the running median over {WINDOW} tasks of the grid "
            "stays below half the median of the first tenth of the tasks (without task 0). What "
            "guessing gives, such as the accuracy of guessing, is subtracted first."
        )
        notes.append(_grid(summary["collapse_grid"]))
    return "\n\n".join(parts + ["\n".join(notes)] if notes else parts)


def _notes(algorithms: Mapping[str, Any], name: str) -> list[str]:
    """The note of a measure, if it has one."""
    of_name = [a["measures"][name] for a in algorithms.values() if name in a["measures"]]
    when, note = MOMENTS[of_name[0]["when"]], of_name[0]["note"]
    return [f"{name} ({when}): {note}"] if note else []


def _moment(algorithms: Mapping[str, Any], name: str) -> str:
    whens = (a["measures"][name]["when"] for a in algorithms.values() if name in a["measures"])
    return MOMENTS[next(whens)]


def _grid(grid: Mapping[str, Any]) -> str:
    if grid["spacing"] is None:
        return (
            "grid: fewer than two tasks were measured for all compared series, so no collapse can "
            "be found."
        )
    tasks = "task" if grid["spacing"] == 1 else f"{grid['spacing']} tasks"
    return (
        f"grid: the {grid['tasks']} tasks that were measured for all compared series, one every "
        f"{tasks}. This is the resolution: series that collapse at the same task of the grid are a "
        "tie (together)."
    )


def _names(algorithms: Mapping[str, Any], section: str) -> list[str]:
    return list(dict.fromkeys(n for a in algorithms.values() for n in a[section]))


def _seeds(algorithm: Mapping[str, Any]) -> str:
    text = str(len(algorithm["finished"]))
    for status in ("diverged", "unfinished"):
        if algorithm[status]:
            text += f" ({len(algorithm[status])} {status})"
    return text


def _mean(measure: Mapping[str, Any] | None) -> str:
    if measure is None or measure["mean"] is None:
        return "-"
    text = with_interval(measure["mean"], measure["half_width"])
    lower, upper, resolved = (measure.get(b) for b in ("lower", "upper", "resolved"))
    if lower is not None and upper is not None:
        text += f" [{lower:.2g}..{upper:.2g}]"
    return text + ("" if resolved is None else f" {resolved:.0%} resolved")


def _collapse(collapse: Mapping[str, Any] | None) -> str:
    if collapse is None:
        return "-"
    if collapse["median"] is None:
        return "no collapse"
    known = [t for t in collapse["by_seed"] if t is not None]
    return f"{collapse['median']:g} ({len(known)} of {len(collapse['by_seed'])})"


def _drop(drop: Mapping[str, Any] | None) -> str:
    if drop is None:
        return "-"
    tasks = [t for t, found in zip(drop["task"], drop["found"], strict=True) if found]
    return f"{np.median(tasks):g} ({len(tasks)} of {len(drop['found'])})" if tasks else "no drop"


def _lead(algorithm: str, quantity: str, lead: Mapping[str, Any]) -> str:
    """A mean lead time with its interval over seeds, if there is one."""
    interval = "" if lead["low"] is None else f" [{lead['low']:.3g}, {lead['high']:.3g}]"
    seeds = "1 seed" if lead["both"] == 1 else f"{lead['both']} seeds"
    return (
        f"lead time: with {algorithm}, {quantity} drops {lead['mean']:.3g}{interval} tasks before "
        f"{lead['before']} (mean and 95 % bootstrap interval over {seeds} in which both drop)."
    )


def _came_first(by_seed: Sequence[Sequence[str]]) -> str:
    counts = Counter(
        " and ".join(names) + (" together" if len(names) > 1 else "") or "nothing"
        for names in by_seed
    )
    return "; ".join(f"{names} ({count})" for names, count in counts.most_common()) or "-"
