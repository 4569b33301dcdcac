"""The normalised epsilon-rank over tasks, with its rigorous bracket."""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..analysis._spectra import column, hessian_probes
from ..measures._measure import MOMENTS
from ..measures._zero import place_of_zero
from ..runs._results import Results
from ._legend import about_means, colours, draw_legend, explain, label, zeros


_RANK = "normalised_epsilon_rank"
_LETTERS = 24  # in a line of the title of a panel


def draw_epsilon_rank(results: Results, note: str = "") -> Figure | None:
    """Draw a panel for each algorithm: the estimate of each seed, their mean, and its bracket.

    The axis is logarithmic. A rank of 0 is drawn at 1 / dimension, and marked; for runs that have
    not recorded the dimension, at the smallest number above 0 that is drawn.

    `None` if no spectra were recorded.
    """
    drawn = results.finished
    if not hessian_probes(results) or not drawn:
        return None
    probe, epsilon = hessian_probes(results)[0]
    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(1.7 * columns + 0.6, 1.8 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    shades = colours(results)
    zero, at_zero, lowest = _zero(results, probe), False, 1.0
    for axes, (algorithm, members) in zip(panels, drawn.items(), strict=False):
        shade = shades[algorithm]
        value, lower, upper = (
            np.stack([column(m, probe, f"{_RANK}{end}")[1] for m in members])
            for end in ("", "_lower", "_upper")
        )
        tasks = np.flatnonzero(np.isfinite(value).all(axis=0))
        bracket = lower[:, tasks].mean(axis=0), upper[:, tasks].mean(axis=0)
        by_seed = value[:, tasks]
        low, high, ranks, mean = (
            np.maximum(values, zero) for values in (*bracket, by_seed, by_seed.mean(axis=0))
        )
        axes.fill_between(tasks, low, high, color="0.85", lw=0)
        axes.plot(tasks, ranks.T, color=shade, lw=0.5, alpha=0.6)
        axes.plot(tasks, mean, color=shade, lw=1.6)
        if len(lost := tasks[(by_seed <= 0).any(axis=0)]):
            axes.plot(lost, np.full(len(lost), zero), "v", color=shade, mfc="none", ms=4)
            at_zero = True
        lowest = min([lowest, *low, *ranks.min(axis=0)])
        axes.set_title(textwrap.fill(label(results, algorithm), _LETTERS))
        axes.set(yscale="log", xmargin=0.01)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    panels[0].set_ylim(lowest / 1.5, 1.0)
    handles = [
        Line2D([], [], color="0.3", lw=1.6, label="mean over seeds"),
        Line2D([], [], color="0.3", lw=0.5, label="one seed"),
        Patch(color="0.85", label="rigorous bracket (mean)"),
    ]
    draw_legend(figure, {}, handles=(*handles, *([zeros()] if at_zero else [])))
    explain(figure, about_means(results), note, axis="Task")
    first = next(iter(drawn.values()))[0]
    when, _ = column(first, probe, _RANK)
    figure.supylabel(rf"Fraction of $|\lambda| > {epsilon:g}$, {MOMENTS[when]}", fontsize=9)
    return figure


def _zero(results: Results, probe: str) -> float:
    """Where a rank of 0 is drawn."""
    members = [member for own in results.finished.values() for member in own]
    when, _ = column(members[0], probe, _RANK)
    rows = lambda ends: [
        member.history[name]
        for member in members
        for end in ends
        if (name := f"{probe}.{when}.{_RANK}{end}") in member.history
    ]
    return place_of_zero(rows(["_smallest"]), rows(["", "_lower", "_upper"]))
