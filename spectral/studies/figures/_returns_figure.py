"""Returns of episodes over the steps of a run, and when the environment changed."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..measures._interval import student_half_width
from ..runs._folder import Member, Results
from ._panels import colour, finished, label


_POINTS = 150  # on a line: more rollouts than that are averaged


def draw_returns(results: Results) -> Figure | None:
    """Above: the mean return of the episodes that ended, for each algorithm, with lines where the
    parameter of the environment changed in a run of the first seed. Below: that parameter.

    `None` for runs that recorded no episodes.
    """
    drawn = [(a, ms) for a, ms in finished(results) if "episode_return" in ms[0].history]
    if not drawn:
        return None
    rollout = results.settings["stream"]["steps_per_rollout"]
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for algorithm, members in drawn:
        series = np.stack([_flat(m, "episode_return") for m in members])
        _line(above, series, rollout, colour(results, algorithm), label(results, algorithm))
    parameter = _flat(drawn[0][1][0], "parameter")
    steps = rollout * (1 + np.arange(len(parameter)))
    below.step(steps, parameter, color="0.3", where="pre")
    below.set(xlabel="Environment steps", ylabel="Parameter", yscale="log", xmargin=0.01)
    jumps = np.flatnonzero(np.abs(np.diff(parameter)) > 1e-6 * np.abs(parameter[1:]))
    # One that drifts changes in every rollout.
    if len(jumps) < len(parameter) / 2:
        for step in steps[jumps]:
            above.axvline(step, color="0.6", lw=0.6, ls=":")
    above.set_ylabel("Return of an episode")
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _flat(member: Member, name: str) -> Float[np.ndarray, " rollouts"]:
    return member.history[name].reshape(-1)


def _line(
    axes: Axes, by_seed: Float[np.ndarray, "seeds rollouts"], rollout: int, shade: str, about: str
) -> None:
    """Mean and interval over seeds, of means over several rollouts."""
    binned = -(-by_seed.shape[1] // _POINTS)
    points = by_seed.shape[1] // binned
    groups = by_seed[:, : points * binned].reshape(len(by_seed), points, binned)
    # No episode may have ended in a rollout, or in several in a row.
    ended = np.isfinite(groups)
    count = ended.sum(axis=2)
    means = np.where(ended, groups, 0).sum(axis=2) / np.maximum(count, 1)
    known = (count > 0).all(axis=0)
    steps = (rollout * binned * (1 + np.arange(points)))[known]
    mean, half_width = means[:, known].mean(axis=0), student_half_width(means[:, known])
    axes.plot(steps, mean, color=shade, label=about)
    axes.fill_between(steps, mean - half_width, mean + half_width, color=shade, alpha=0.2, lw=0)
