"""The normalised epsilon-rank over tasks, with its rigorous bracket."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..analysis._spectra import column, hessian_probes
from ..measures._measure import MOMENTS
from ..runs._results import Results
from ._legend import colour, label


def draw_epsilon_rank(results: Results) -> Figure | None:
    """Draw a panel for each algorithm: the estimate of each seed, their mean, and its bracket.

    `None` if no spectra were recorded.
    """
    drawn = results.finished
    if not hessian_probes(results) or not drawn:
        return None
    probe, epsilon = hessian_probes(results)[0]
    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(1.7 * columns + 0.6, 1.8 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    for axes, (algorithm, members) in zip(panels, drawn.items(), strict=False):
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
    handles = [
        Line2D([], [], color="0.3", lw=1.6, label="mean over seeds"),
        Line2D([], [], color="0.3", lw=0.5, label="one seed"),
        Patch(color="0.85", label="rigorous bracket (mean)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    figure.supxlabel("Task", fontsize=9)
    first = next(iter(drawn.values()))[0]
    when, _ = column(first, probe, "normalised_epsilon_rank")
    figure.supylabel(rf"Fraction of $|\lambda| > {epsilon:g}$, {MOMENTS[when]}", fontsize=9)
    return figure
