"""Curvature against accuracy."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from ...curvature import smoothed_density_mass
from ..measures._measures import MOMENTS
from ..runs._folder import Results
from ._panels import accuracy, as_spectrum, colour, column, finished, hessian_probes, label


class CurvaturePoints(NamedTuple):
    """Of an algorithm, one entry for each task whose spectrum was measured; means over seeds."""

    tasks: np.ndarray
    published: np.ndarray  # the integral of the smoothed density, as in published figures
    quadrature: np.ndarray  # the fraction of eigenvalues that the quadrature counts
    accuracy: np.ndarray


class Fit(NamedTuple):
    """The least-squares line of accuracy over curvature, and the correlation."""

    slope: float
    intercept: float
    correlation: float


def curvature_points(results: Results) -> dict[str, CurvaturePoints]:
    """Curvature and accuracy of each algorithm, task by task."""
    found: dict[str, CurvaturePoints] = {}
    for probe in hessian_probes(results)[:1]:
        epsilon = results.settings["probes"][probe]["epsilon"]
        for algorithm, members in finished(results):
            known = [accuracy(results, member) for member in members]
            accuracies = [series for series in known if series is not None]
            if len(accuracies) < len(members):
                continue
            counted = np.stack([column(m, probe, "normalised_epsilon_rank")[1] for m in members])
            finite = np.isfinite(counted) & np.isfinite(np.stack(accuracies))
            tasks = np.flatnonzero(finite.all(axis=0))
            nodes, weights = (
                np.stack([column(m, probe, what)[1][tasks] for m in members])
                for what in ("nodes", "weights")
            )
            found[algorithm] = CurvaturePoints(
                tasks=tasks,
                published=_published(nodes, weights, epsilon).mean(axis=0),
                quadrature=counted[:, tasks].mean(axis=0),
                accuracy=np.stack(accuracies)[:, tasks].mean(axis=0),
            )
    return found


def fit_line(x: np.ndarray, y: np.ndarray) -> Fit | None:
    """The least-squares line; `None` where all `x` are equal or there are fewer than two."""
    if len(x) < 2 or np.ptp(x) == 0:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    correlation = np.corrcoef(x, y)[0, 1] if np.ptp(y) > 0 else 0.0
    return Fit(float(slope), float(intercept), float(correlation))


def draw_curvature(results: Results) -> Figure | None:
    """Accuracy against the fraction of large eigenvalues, under both estimators side by side."""
    points = curvature_points(results)
    if not points:
        return None
    probe = hessian_probes(results)[0]
    epsilon = results.settings["probes"][probe]["epsilon"]
    when, _ = column(next(finished(results))[1][0], probe, "normalised_epsilon_rank")
    figure = Figure(figsize=(7.0, 3.1), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = {"published": "Published estimator", "quadrature": "Quadrature"}
    for axes, (estimator, name) in zip(panels, names.items(), strict=True):
        for algorithm, own in points.items():
            x, shade = getattr(own, estimator), colour(results, algorithm)
            about = label(results, algorithm)
            axes.scatter(x, own.accuracy, s=10, color=shade, alpha=0.7, lw=0, label=about)
        x = np.concatenate([getattr(own, estimator) for own in points.values()])
        line = fit_line(x, np.concatenate([own.accuracy for own in points.values()]))
        if line is not None:
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, line.intercept + line.slope * ends, ":", color="0.3")
            name += f" (fit: r = {line.correlation:.2f})"
        axes.set_title(name)
        axes.set_xlabel(rf"Share of $|\lambda| > {epsilon:g}$, {MOMENTS[when]}")
    panels[0].set(ylabel="Accuracy of the task", ylim=(0.0, 1.0))
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=4)
    return figure


def _published(nodes: np.ndarray, weights: np.ndarray, epsilon: float) -> np.ndarray:
    """[seeds, tasks]"""

    @eqx.filter_jit
    def mass(pair: tuple[Array, Array]) -> Float[Array, ""]:
        return smoothed_density_mass(as_spectrum(*pair), epsilon)

    flat = [jnp.asarray(x.reshape(-1, *x.shape[2:])) for x in (nodes, weights)]
    masses = jax.lax.map(mass, (flat[0], flat[1]))
    return np.asarray(masses).reshape(nodes.shape[:2])
