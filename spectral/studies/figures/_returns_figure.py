"""Episode returns over the steps of a run, and the parameter of the environment."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from ..runs._results import Member, Results
from ._legend import about_seeds, colours, draw_legend, explain, label
from ._lines import draw_mean


_MAX_POINTS = 150  # of a line: more rollouts are averaged in groups


def draw_returns(results: Results, note: str = "") -> Figure | None:
    """Draw the mean return of the episodes that ended, for each algorithm, and below it the
    parameter of the environment in the run of the first seed.

    Dotted lines mark where the parameter changed. `None` if no episodes were recorded.
    """
    drawn = [(a, ms) for a, ms in results.finished.items() if "episode_return" in ms[0].history]
    if not drawn:
        return None
    rollout = results.settings["stream"]["steps_per_rollout"]
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    shades = colours(results)
    for algorithm, members in drawn:
        series = np.stack([_flat(m, "episode_return") for m in members])
        rollouts, means = _group_means(series)
        draw_mean(above, rollout * rollouts, means, shades[algorithm], label(results, algorithm))
    parameter = _flat(drawn[0][1][0], "parameter")
    steps = rollout * (1 + np.arange(len(parameter)))
    below.step(steps, parameter, color="0.3", where="pre")
    below.set(xlabel="Environment steps", ylabel="Parameter", yscale="log", xmargin=0.01)
    jumps = np.flatnonzero(np.abs(np.diff(parameter)) > 1e-6 * np.abs(parameter[1:]))
    # A parameter that drifts changes in every rollout: no lines then.
    if len(jumps) < len(parameter) / 2:
        for step in steps[jumps]:
            above.axvline(step, color="0.6", lw=0.6, ls=":")
    above.set_ylabel("Return of an episode")
    draw_legend(figure, {label(results, a): shades[a] for a, _ in drawn})
    explain(figure, about_seeds(results), note)
    return figure


def _flat(member: Member, name: str) -> Float[np.ndarray, " rollouts"]:
    return member.history[name].reshape(-1)


def _group_means(
    by_seed: Float[np.ndarray, "seeds rollouts"],
) -> tuple[np.ndarray, np.ndarray]:
    """Means over groups of rollouts, without NaN, and the number of rollouts up to each group.

    Groups in which no episode of some seed ended are left out.
    """
    count = -(-by_seed.shape[1] // _MAX_POINTS)
    points = by_seed.shape[1] // count
    groups = by_seed[:, : points * count].reshape(len(by_seed), points, count)
    ended = np.isfinite(groups)
    episodes = ended.sum(axis=2)
    means = np.where(ended, groups, 0).sum(axis=2) / np.maximum(episodes, 1)
    known = (episodes > 0).all(axis=0)
    return (count * (1 + np.arange(points)))[known], means[:, known]
