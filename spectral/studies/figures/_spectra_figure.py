"""Densities of the spectra of the Hessian."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from ...curvature import density
from ..analysis._spectra import as_spectrum, column, hessian_probes
from ..measures._measure import last_fifth, mean_measured, MOMENTS, performance
from ..runs._results import Member, Results
from ._legend import colour


def draw_spectra(results: Results) -> Figure | None:
    """Draw a grid of densities: rows are algorithms by increasing performance, columns are tasks.

    Each row shows the first seed that finished. `None` if no spectra were recorded.
    """
    rows = [(algorithm, members[0]) for algorithm, members in results.finished.items()]
    rows.sort(key=lambda row: _last_performance(row[1]))
    if not hessian_probes(results) or not rows:
        return None
    probe, *others = (probe.name for probe in hessian_probes(results))
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
    figure.supylabel("Density, smoothed with a Gaussian of the width shown", fontsize=9)
    return figure


def _density(
    member: Member, probe: str, task: int, grid: np.ndarray, width: float
) -> Float[np.ndarray, " _"]:
    nodes, weights = (column(member, probe, what)[1][task] for what in ("nodes", "weights"))
    return np.asarray(density(as_spectrum(nodes, weights), jnp.asarray(grid), width=width))


def _last_performance(member: Member) -> float:
    """The mean performance over the last fifth of the tasks; 0 if there is none."""
    measure = performance(member.history)
    if measure is None:
        return 0.0
    level = mean_measured(last_fifth(measure.series))
    return -level if measure.quantity.better == "lower" else level
