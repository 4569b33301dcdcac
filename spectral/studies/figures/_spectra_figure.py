"""Densities of the spectra of the Hessian."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from ..analysis._foremost import last_performance
from ..analysis._spectra import column, densities, hessian_probes, spaced
from ..measures._measure import MOMENTS
from ..runs._results import Results
from ._legend import colours, explain


def draw_spectra(results: Results, note: str = "") -> Figure | None:
    """Draw a grid of densities: rows are algorithms by increasing performance, columns are tasks.

    Each row shows the first seed that finished. `None` if no spectra were recorded.
    """
    rows = [(algorithm, members[0]) for algorithm, members in results.finished.items()]
    rows.sort(key=lambda row: last_performance(row[1]))
    if not hessian_probes(results) or not rows:
        return None
    probe, *others = (probe.name for probe in hessian_probes(results))
    figure = Figure(figsize=(7.0, 1.3 * len(rows) + 0.6), layout="constrained")
    when, known = column(rows[0][1], probe, "nodes")
    tasks = spaced(np.flatnonzero(np.isfinite(known).all(axis=(1, 2))), 4)
    shades = colours(results)
    panels = figure.subplots(len(rows), len(tasks), squeeze=False, sharex="row", sharey=True)
    for line, (algorithm, member) in zip(panels, rows, strict=True):
        shade = shades[algorithm]
        nodes = column(member, probe, "nodes")[1][tasks]
        width = float(np.max(nodes) - np.min(nodes)) / 200
        grid = np.linspace(np.min(nodes) - 5 * width, np.max(nodes) + 5 * width, 2000)
        drawn = []
        for name in (probe, *others):
            known, weights = (column(member, name, what)[1][tasks] for what in ("nodes", "weights"))
            drawn.append(densities(known, weights, grid, width=width))
        for axes, values, *further in zip(line, *drawn, strict=True):
            axes.plot(grid, values, color=shade, lw=0.8)
            axes.fill_between(grid, 1e-9, values, color=shade, alpha=0.25, lw=0)
            for other in further:
                axes.plot(grid, other, color="black", lw=0.6)
            axes.set(yscale="log", ylim=(1e-5, 1e1), yticks=(1e-4, 1e-2, 1e0), xmargin=0.0)
        line[0].set_ylabel(f"{textwrap.fill(algorithm, 18)}, seed {member.seed}", fontsize=7)
        line[-1].set_title(f"width {width:.2g}", loc="right", y=0.75, fontsize=8)
    for axes, task in zip(panels[0], tasks, strict=True):
        axes.set_title(f"{MOMENTS[when].capitalize()} {task}", loc="left")
    black = f" (black: {', '.join(others)})" if others else ""
    explain(figure, note, axis=f"Eigenvalue of the Hessian{black}")
    figure.supylabel("Density, smoothed with a Gaussian of the width shown", fontsize=9)
    return figure
