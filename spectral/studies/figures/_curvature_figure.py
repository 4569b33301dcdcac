"""Performance against curvature."""

import numpy as np
from matplotlib.figure import Figure

from ..analysis._curvature_points import curvature_points, fit_line
from ..analysis._spectra import column, hessian_probes
from ..measures._measure import MOMENTS
from ..runs._results import Results
from ._legend import colours, draw_legend, explain, label


def draw_curvature(results: Results, note: str = "") -> Figure | None:
    """Draw performance against the fraction of large eigenvalues, for both estimators side by side.

    `None` if no spectra or no performance were recorded.
    """
    points = curvature_points(results)
    if not points:
        return None
    probe, epsilon = hessian_probes(results)[0]
    first = next(iter(results.finished.values()))[0]
    when, _ = column(first, probe, "normalised_epsilon_rank")
    figure = Figure(figsize=(7.0, 3.1), layout="constrained")
    panels, shades = figure.subplots(1, 2, sharey=True), colours(results)
    names = {"published": "Published estimator", "quadrature": "Quadrature"}
    for axes, (estimator, name) in zip(panels, names.items(), strict=True):
        for algorithm, own in points.items():
            x = getattr(own, estimator)
            axes.scatter(x, own.performance, s=10, color=shades[algorithm], alpha=0.7, lw=0)
        x = np.concatenate([getattr(own, estimator) for own in points.values()])
        line = fit_line(x, np.concatenate([own.performance for own in points.values()]))
        if line is not None:
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, line.intercept + line.slope * ends, ":", color="0.3")
            name += f" (fit: r = {line.correlation:.2f})"
        axes.set_title(name)
        axes.set_xlabel(rf"Fraction of $|\lambda| > {epsilon:g}$, {MOMENTS[when]}")
    quantity = next(iter(points.values())).quantity
    panels[0].set(ylabel=f"{quantity.axis} of the task", ylim=quantity.limits)
    draw_legend(figure, {label(results, a): shades[a] for a in points})
    explain(figure, "Points: tasks, as means over the finished seeds. Dotted: linear fit.", note)
    return figure
