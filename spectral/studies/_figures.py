"""Figures of a run."""

import pathlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..curvature import density, Spectrum
from ._folder import Member, Results
from ._interval import student_half_width
from ._measures import EFFECTIVE_RANK, measures, Moment, MOMENTS, probed


# Okabe and Ito's palette, which colour-blind readers can tell apart. Yellow is left out, for it
# cannot be seen on paper.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # letters stay letters
}
_LABELS = {
    "accuracy": "Accuracy",
    "online accuracy": "Online accuracy",
    "dead units": "Dead units (share)",
    EFFECTIVE_RANK: "Effective rank (least of the layers)",
}
_POINTS = 50  # on a line: more tasks than that are averaged


def draw_figures(results: Results) -> list[pathlib.Path]:
    """Draw what a run has recorded, as PNG and PDF, into the folder `figures` of the run.

    - `performance`: accuracy over tasks (paper, Figure 3);
    - `units`: dead units and the least effective rank of the layers over tasks (Figure 6);
    - `epsilon_rank`: the share of large eigenvalues over tasks, with its rigorous bracket;
    - `hessian_spectra`: densities of the spectrum of the Hessian, for one seed (Figure 10).

    Lines are means over the seeds that finished, bands their 95 % confidence intervals (Student's
    t); of many tasks, means over several in a row are drawn. Figures of what was not recorded are
    left out.

    **Returns:** the files that were written.
    """
    files = []
    with matplotlib.rc_context(_STYLE):
        figures = {
            "performance": _over_tasks(results, ("accuracy", "online accuracy")),
            "units": _over_tasks(results, ("dead units", EFFECTIVE_RANK)),
            "epsilon_rank": _epsilon_rank(results),
            "hessian_spectra": _spectra(results),
        }
        for name, figure in figures.items():
            if figure is not None:
                for kind in ("png", "pdf"):
                    path = results.folder / "figures" / f"{name}.{kind}"
                    path.parent.mkdir(exist_ok=True)
                    figure.savefig(path, dpi=200)
                    files.append(path)
    return files


def _over_tasks(results: Results, names: tuple[str, ...]) -> Figure | None:
    """A panel for each measure, with a line for each algorithm."""
    probes = results.settings["probes"]
    table = {a: [measures(probes, m.history) for m in ms] for a, ms in _finished(results)}
    names = tuple(n for n in names if any(n in r for rows in table.values() for r in rows))
    if not names:
        return None
    figure = Figure(figsize=(3.5 * len(names), 2.9), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        binned = 1
        for algorithm, rows in table.items():
            if all(name in row for row in rows):
                colour, label = _colour(results, algorithm), _label(results, algorithm)
                binned = _line(axes, np.stack([row[name].series for row in rows]), colour, label)
        means = f" (means over {binned} tasks)" if binned > 1 else ""
        measured = [row[name] for rows in table.values() for row in rows if name in row]
        when = MOMENTS[measured[0].when]
        axes.set(xlabel=f"Task{means}", ylabel=f"{_LABELS[name]}\n{when}", xmargin=0.01)
        axes.set_ylim(0.0, None if name == EFFECTIVE_RANK else 1.0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _epsilon_rank(results: Results) -> Figure | None:
    """A panel for each algorithm: the estimate of each seed, their mean, and its bracket."""
    probe = _hessian(results)
    drawn = list(_finished(results))
    if probe is None or not drawn:
        return None
    epsilon = results.settings["probes"][probe]["epsilon"]
    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(1.7 * columns + 0.6, 1.8 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    for axes, (algorithm, members) in zip(panels, drawn, strict=False):
        colour = _colour(results, algorithm)
        value, lower, upper = (
            np.stack([_column(m, probe, f"epsilon_rank{end}")[1] for m in members])
            for end in ("", "_lower", "_upper")
        )
        tasks = np.flatnonzero(np.isfinite(value).all(axis=0))
        bracket = lower[:, tasks].mean(axis=0), upper[:, tasks].mean(axis=0)
        axes.fill_between(tasks, *bracket, color="0.85", lw=0)
        axes.plot(tasks, value[:, tasks].T, color=colour, lw=0.5, alpha=0.6)
        axes.plot(tasks, value[:, tasks].mean(axis=0), color=colour, lw=1.6)
        axes.set_title(_label(results, algorithm))
        axes.set(yscale="log", ylim=(1e-4, 1.0), xmargin=0.01)
    about = [
        Line2D([], [], color="0.3", lw=1.6, label="mean over seeds"),
        Line2D([], [], color="0.3", lw=0.5, label="one seed"),
        Patch(color="0.85", label="rigorous bracket (mean)"),
    ]
    figure.legend(handles=about, loc="outside upper center", ncols=3)
    figure.supxlabel("Task", fontsize=9)
    when, _ = _column(drawn[0][1][0], probe, "epsilon_rank")
    figure.supylabel(rf"Share of $|\lambda| > {epsilon:g}$, {MOMENTS[when]}", fontsize=9)
    return figure


def _spectra(results: Results) -> Figure | None:
    """A grid: rows are algorithms, columns are tasks."""
    probe = _hessian(results)
    rows = [(a, members[0]) for a, members in _finished(results)]
    if probe is None or not rows:
        return None
    figure = Figure(figsize=(7.0, 1.3 * len(rows) + 0.6), layout="constrained")
    when, known = _column(rows[0][1], probe, "nodes")
    tasks = np.flatnonzero(np.isfinite(known).all(axis=(1, 2)))
    tasks = np.unique(tasks[np.linspace(0, len(tasks) - 1, 4).round().astype(int)])
    panels = figure.subplots(len(rows), len(tasks), squeeze=False, sharex="row", sharey=True)
    for line, (algorithm, member) in zip(panels, rows, strict=True):
        colour = _colour(results, algorithm)
        nodes, weights = (_column(member, probe, what)[1][tasks] for what in ("nodes", "weights"))
        width = float(np.max(nodes) - np.min(nodes)) / 200
        grid = np.linspace(np.min(nodes) - 5 * width, np.max(nodes) + 5 * width, 2000)
        for axes, *quadrature in zip(line, nodes, weights, strict=True):
            curve = density(_spectrum(*quadrature), jnp.asarray(grid), width=width)
            axes.plot(grid, curve, color=colour, lw=0.8)
            axes.fill_between(grid, 1e-9, curve, color=colour, alpha=0.25, lw=0)
            axes.set(yscale="log", ylim=(1e-5, 1e1), yticks=(1e-4, 1e-2, 1e0), xmargin=0.0)
        line[0].set_ylabel(f"{algorithm}, seed {member.seed}")
        line[-1].set_title(f"width {width:.2g}", loc="right", y=0.75, fontsize=8)
    for axes, task in zip(panels[0], tasks, strict=True):
        axes.set_title(f"{MOMENTS[when].capitalize()} {task}", loc="left")
    figure.supxlabel("Eigenvalue of the Hessian", fontsize=9)
    figure.supylabel("Density, smoothed with a Gaussian of the width stated", fontsize=9)
    return figure


def _finished(results: Results) -> Iterator[tuple[str, list[Member]]]:
    for algorithm in results.settings["algorithms"]:
        members = [m for m in results.of(algorithm) if m.status == "finished"]
        if members:
            yield algorithm, members


def _label(results: Results, algorithm: str) -> str:
    seeds = results.settings["seeds"]
    finished = len(dict(_finished(results))[algorithm])
    return algorithm if finished == seeds else f"{algorithm} ({finished} of {seeds} seeds)"


def _colour(results: Results, algorithm: str) -> str:
    return _COLOURS[list(results.settings["algorithms"]).index(algorithm) % len(_COLOURS)]


def _line(axes: Axes, by_seed: np.ndarray, colour: str, label: str) -> int:
    """Mean and interval over seeds. Returns how many measured tasks are averaged to a point."""
    tasks = np.flatnonzero(np.isfinite(by_seed).all(axis=0))
    binned = max(1, len(tasks) // _POINTS)
    points = len(tasks) // binned
    # What is left over of the tasks, less than a point, is cut off at the beginning.
    tasks = tasks[len(tasks) - points * binned :]
    by_seed = by_seed[:, tasks].reshape(-1, points, binned).mean(axis=2)
    tasks = tasks.reshape(points, binned).mean(axis=1)
    mean, half_width = by_seed.mean(axis=0), student_half_width(by_seed)
    axes.plot(tasks, mean, color=colour, label=label)
    axes.fill_between(tasks, mean - half_width, mean + half_width, color=colour, alpha=0.2, lw=0)
    return binned


def _hessian(results: Results) -> str | None:
    """The first probe of a Hessian spectrum."""
    probes = results.settings["probes"].items()
    return next((name for name, p in probes if p["type"] == "HessianSpectrum"), None)


def _column(member: Member, probe: str, what: str) -> tuple[Moment, np.ndarray]:
    known = probed(probe, what, member.history)
    assert known is not None
    return known


def _spectrum(nodes: np.ndarray, weights: np.ndarray) -> Spectrum:
    """The quadrature in a history. No density needs what a history does not hold."""
    unknown = jnp.full(nodes.shape, jnp.nan)
    return Spectrum(
        nodes=jnp.asarray(nodes),
        weights=jnp.asarray(weights),
        residuals=unknown,
        diagonal=unknown,
        off_diagonal=unknown[:, 1:],
        exhausted=jnp.zeros(len(nodes), bool),
        tolerance=unknown[:, 0],
        dim=nodes.shape[1],
    )
