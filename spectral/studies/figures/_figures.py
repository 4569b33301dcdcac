"""Figures of a run."""

import pathlib
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..._arguments import unknown_name
from ...curvature import density
from ..experiment._settings import SettingsError
from ..measures._measures import MOMENTS
from ..runs._folder import Member, Results
from ._curvature_figure import draw_curvature
from ._lines import draw_measure, measured, PERFORMANCE, UNITS
from ._panels import (
    accuracy,
    as_spectrum,
    colour,
    column,
    finished,
    hessian_probes,
    label,
    save_figures,
)
from ._returns_figure import draw_returns


def draw_figures(
    results: Results, *, only: Sequence[str] | None = None, smooth: int | None = None
) -> list[pathlib.Path]:
    """Draw what a run has recorded, as PNG and PDF, into the folder `figures` of the run.

    - `performance`: accuracy over tasks (paper, Figure 3);
    - `returns`: returns of episodes over the steps of reinforcement learning, with the changes of
      the environment;
    - `units`: dead units and the smallest effective rank of the layers over tasks (Figure 6);
    - `overview`: both in one row (Figure 9);
    - `normalised_epsilon_rank`: the fraction of large eigenvalues over tasks, with its rigorous
      bracket;
    - `curvature_accuracy`: accuracy against that fraction, with a linear fit, as the published
      estimator and as the quadrature has it (Figures 2, 7 and 8);
    - `hessian_spectra`: densities of the spectrum of the Hessian, for one seed of each algorithm,
      by increasing accuracy; of further probes as black lines (Figures 10, 12 and 13).

    Lines are means over the seeds that finished, bands their 95 % confidence intervals (Student's
    t); of many tasks, means over several in a row are drawn. Figures of what was not recorded are
    left out.

    **Arguments:**

    - `only`: the names of the figures to be drawn; by default all.
    - `smooth`: the accuracies of each seed are smoothed by a Savitzky-Golay filter (quadratic) over
      so many tasks; the figure says so.

    **Returns:** the files that were written.

    **Raises:** `SettingsError` for a figure that does not exist, a filter that does not fit, or if
    nothing was recorded that could be drawn.
    """
    drawings: dict[str, Callable[[], Figure | None]] = {
        "performance": lambda: _over_tasks(results, PERFORMANCE, smooth),
        "returns": lambda: draw_returns(results),
        "units": lambda: _over_tasks(results, UNITS, None),
        "overview": lambda: _over_tasks(results, PERFORMANCE + UNITS, smooth, of=UNITS),
        "normalised_epsilon_rank": lambda: _epsilon_rank(results),
        "curvature_accuracy": lambda: draw_curvature(results),
        "hessian_spectra": lambda: _spectra(results),
    }
    for name in only or ():
        if name not in drawings:
            raise SettingsError(unknown_name("`--only`: Figure", name, drawings))
    files = save_figures({n: drawings[n] for n in only or drawings}, results.folder / "figures")
    if not files:
        done = sum(len(members) for _, members in finished(results))
        total = len(results.settings["algorithms"]) * results.settings["seeds"]
        raise SettingsError(
            f"Nothing in {str(results.folder)!r} can be drawn as {', '.join(only or drawings)}: "
            f"{done} of {total} training runs have finished, and figures show what those have "
            "recorded. Wait until more have, or choose other figures."
        )
    return files


def _over_tasks(
    results: Results, names: tuple[str, ...], smooth: int | None, *, of: tuple[str, ...] = ()
) -> Figure | None:
    """A panel for each measure, with a line for each algorithm; of `of`, one must be there."""
    names = tuple(name for name in names if name in measured(results))
    if not names or (of and not set(of) & set(names)):
        return None
    figure = Figure(figsize=(3.5 * len(names), 2.9), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    shades = {a: colour(results, a) for a in results.settings["algorithms"]}
    for axes, name in zip(panels, names, strict=True):
        draw_measure(axes, results, name, shades, smooth if name in PERFORMANCE else None)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _epsilon_rank(results: Results) -> Figure | None:
    """A panel for each algorithm: the estimate of each seed, their mean, and its bracket."""
    drawn = list(finished(results))
    if not hessian_probes(results) or not drawn:
        return None
    probe = hessian_probes(results)[0]
    epsilon = results.settings["probes"][probe]["epsilon"]
    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(1.7 * columns + 0.6, 1.8 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    for axes, (algorithm, members) in zip(panels, drawn, strict=False):
        shade = colour(results, algorithm)
        value, lower, upper = (
            np.stack([column(m, probe, f"normalised_epsilon_rank{end}")[1] for m in members])
            for end in ("", "_lower", "_upper")
        )
        tasks = np.flatnonzero(np.isfinite(value).all(axis=0))
        bracket = lower[:, tasks].mean(axis=0), upper[:, tasks].mean(axis=0)
        axes.fill_between(tasks, *bracket, color="0.85", lw=0)
        axes.plot(tasks, value[:, tasks].T, color=shade, lw=0.5, alpha=0.6)
        axes.plot(tasks, value[:, tasks].mean(axis=0), color=shade, lw=1.6)
        axes.set_title(label(results, algorithm))
        axes.set(yscale="log", ylim=(1e-4, 1.0), xmargin=0.01)
    about = [
        Line2D([], [], color="0.3", lw=1.6, label="mean over seeds"),
        Line2D([], [], color="0.3", lw=0.5, label="one seed"),
        Patch(color="0.85", label="rigorous bracket (mean)"),
    ]
    figure.legend(handles=about, loc="outside upper center", ncols=3)
    figure.supxlabel("Task", fontsize=9)
    when, _ = column(drawn[0][1][0], probe, "normalised_epsilon_rank")
    figure.supylabel(rf"Share of $|\lambda| > {epsilon:g}$, {MOMENTS[when]}", fontsize=9)
    return figure


def _spectra(results: Results) -> Figure | None:
    """A grid: rows are algorithms, by increasing accuracy, columns are tasks."""
    rows = [(algorithm, members[0]) for algorithm, members in finished(results)]
    rows.sort(key=lambda row: _last(results, row[1]))
    if not hessian_probes(results) or not rows:
        return None
    probe, *others = hessian_probes(results)
    figure = Figure(figsize=(7.0, 1.3 * len(rows) + 0.6), layout="constrained")
    when, known = column(rows[0][1], probe, "nodes")
    tasks = np.flatnonzero(np.isfinite(known).all(axis=(1, 2)))
    tasks = np.unique(tasks[np.linspace(0, len(tasks) - 1, 4).round().astype(int)])
    panels = figure.subplots(len(rows), len(tasks), squeeze=False, sharex="row", sharey=True)
    for line, (algorithm, member) in zip(panels, rows, strict=True):
        shade = colour(results, algorithm)
        nodes = column(member, probe, "nodes")[1][tasks]
        width = float(np.max(nodes) - np.min(nodes)) / 200
        grid = np.linspace(np.min(nodes) - 5 * width, np.max(nodes) + 5 * width, 2000)

        for axes, task in zip(line, tasks, strict=True):
            values = _density(member, probe, int(task), grid, width)
            axes.plot(grid, values, color=shade, lw=0.8)
            axes.fill_between(grid, 1e-9, values, color=shade, alpha=0.25, lw=0)
            for other in others:
                further = _density(member, other, int(task), grid, width)
                axes.plot(grid, further, color="black", lw=0.6)
            axes.set(yscale="log", ylim=(1e-5, 1e1), yticks=(1e-4, 1e-2, 1e0), xmargin=0.0)
        line[0].set_ylabel(f"{algorithm}, seed {member.seed}")
        line[-1].set_title(f"width {width:.2g}", loc="right", y=0.75, fontsize=8)
    for axes, task in zip(panels[0], tasks, strict=True):
        axes.set_title(f"{MOMENTS[when].capitalize()} {task}", loc="left")
    black = f" (black: {', '.join(others)})" if others else ""
    figure.supxlabel(f"Eigenvalue of the Hessian{black}", fontsize=9)
    figure.supylabel("Density, smoothed with a Gaussian of the width stated", fontsize=9)
    return figure


def _density(
    member: Member, probe: str, task: int, grid: np.ndarray, width: float
) -> Float[np.ndarray, " _"]:
    nodes, weights = (column(member, probe, what)[1][task] for what in ("nodes", "weights"))
    return np.asarray(density(as_spectrum(nodes, weights), jnp.asarray(grid), width=width))


def _last(results: Results, member: Member) -> float:
    """The mean accuracy over the last fifth of the tasks; 0 if there is none."""
    series = accuracy(results, member)
    return 0.0 if series is None else float(np.nanmean(series[-max(1, len(series) // 5) :]))
