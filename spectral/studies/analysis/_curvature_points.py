"""Curvature and performance, task by task."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from ..._base._quantity import Quantity
from ...curvature import smoothed_density_mass
from ..measures._measure import performance
from ..runs._results import Member, Results
from ._spectra import as_spectrum, column, hessian_probes, of_each, spaced


class CurvaturePoints(NamedTuple):
    """Curvature and performance of one algorithm, as means over its seeds.

    Each array has one entry per task whose spectrum was measured.
    """

    tasks: np.ndarray
    published: np.ndarray  # the integral of the smoothed density, as in the published figures
    quadrature: np.ndarray  # the fraction of eigenvalues that the quadrature counts
    performance: np.ndarray
    quantity: Quantity  # what the performance is


class Fit(NamedTuple):
    """The least-squares line of performance over curvature, and their correlation."""

    slope: float
    intercept: float
    correlation: float


def curvature_points(
    results: Results, *, max_spectra: int | None = None
) -> dict[str, CurvaturePoints]:
    """The curvature and performance of each algorithm, from the first probe of a Hessian spectrum.

    The performance is the first quantity of the figure `performance`, such as the accuracy.
    Algorithms without both are left out. Without such a probe the result is empty.

    **Arguments:**

    - `max_spectra`: if the run has recorded more spectra, only tasks at equal distances are used,
      for each algorithm at least two. By default all.
    """
    finished = results.finished
    limit = None if max_spectra is None else max(2, max_spectra // max(1, _count(finished)))
    found: dict[str, CurvaturePoints] = {}
    spectra: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for probe, epsilon in hessian_probes(results)[:1]:
        for algorithm, members in finished.items():
            known = [performance(member.history) for member in members]
            known = [measure for measure in known if measure is not None]
            if len(known) < len(members):
                continue
            learned = np.stack([measure.series for measure in known])
            counted = np.stack([column(m, probe, "normalised_epsilon_rank")[1] for m in members])
            tasks = np.flatnonzero((np.isfinite(counted) & np.isfinite(learned)).all(axis=0))
            if not len(tasks):
                continue
            tasks = tasks if limit is None else spaced(tasks, limit)
            nodes, weights = (
                np.stack([column(m, probe, what)[1][tasks] for m in members])
                for what in ("nodes", "weights")
            )
            spectra[algorithm] = nodes, weights
            found[algorithm] = CurvaturePoints(
                tasks=tasks,
                published=np.empty(0),  # computed below, for all algorithms together
                quadrature=counted[:, tasks].mean(axis=0),
                performance=learned[:, tasks].mean(axis=0),
                quantity=known[0].quantity,
            )
        for algorithm, masses in _smoothed_masses(spectra, epsilon).items():
            found[algorithm] = found[algorithm]._replace(published=masses.mean(axis=0))
    return found


def fit_line(x: np.ndarray, y: np.ndarray) -> Fit | None:
    """The least-squares line; `None` if there are fewer than two points or all `x` are equal."""
    if len(x) < 2 or np.ptp(x) == 0:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    correlation = np.corrcoef(x, y)[0, 1] if np.ptp(y) > 0 else 0.0
    return Fit(float(slope), float(intercept), float(correlation))


def _count(finished: Mapping[str, Sequence[Member]]) -> int:
    return sum(map(len, finished.values()))


def _smoothed_masses(
    spectra: Mapping[str, tuple[np.ndarray, np.ndarray]], epsilon: float
) -> dict[str, np.ndarray]:
    """By algorithm, the mass of the smoothed densities beyond epsilon: `[seeds, tasks]`."""
    masses = {}
    shapes = {nodes.shape[2:] for nodes, _ in spectra.values()}
    for shape in shapes:
        own = {a: pair for a, pair in spectra.items() if pair[0].shape[2:] == shape}
        counts = [nodes.shape[0] * nodes.shape[1] for nodes, _ in own.values()]
        nodes, weights = (
            np.concatenate([x.reshape(-1, *shape) for x in columns])
            for columns in zip(*own.values(), strict=True)
        )
        flat = of_each(_mass, nodes, weights, np.full(sum(counts), epsilon))
        parts = np.split(flat, np.cumsum(counts)[:-1])
        for (algorithm, (nodes, _)), part in zip(own.items(), parts, strict=True):
            masses[algorithm] = part.reshape(nodes.shape[:2])
    return masses


def _mass(
    nodes: Float[Array, "vectors order"],
    weights: Float[Array, "vectors order"],
    epsilon: Float[Array, ""],
) -> Float[Array, ""]:
    return smoothed_density_mass(as_spectrum(nodes, weights), epsilon)
