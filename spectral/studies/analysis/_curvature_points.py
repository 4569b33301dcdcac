"""Curvature and performance, task by task."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._base._quantity import Quantity
from ...curvature import smoothed_density_mass
from ..measures._measure import performance
from ..runs._results import Results
from ._spectra import as_spectrum, column, hessian_probes


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


def curvature_points(results: Results) -> dict[str, CurvaturePoints]:
    """The curvature and performance of each algorithm, from the first probe of a Hessian spectrum.

    The performance is the first quantity of the figure `performance`, such as the accuracy.
    Algorithms without it are left out. Without such a probe the result is empty.
    """
    found: dict[str, CurvaturePoints] = {}
    for probe, epsilon in hessian_probes(results)[:1]:
        for algorithm, members in results.finished.items():
            known = [performance(member.history) for member in members]
            known = [measure for measure in known if measure is not None]
            if len(known) < len(members):
                continue
            learned = np.stack([measure.series for measure in known])
            counted = np.stack([column(m, probe, "normalised_epsilon_rank")[1] for m in members])
            tasks = np.flatnonzero((np.isfinite(counted) & np.isfinite(learned)).all(axis=0))
            nodes, weights = (
                np.stack([column(m, probe, what)[1][tasks] for m in members])
                for what in ("nodes", "weights")
            )
            found[algorithm] = CurvaturePoints(
                tasks=tasks,
                published=_smoothed_mass(nodes, weights, epsilon).mean(axis=0),
                quadrature=counted[:, tasks].mean(axis=0),
                performance=learned[:, tasks].mean(axis=0),
                quantity=known[0].quantity,
            )
    return found


def fit_line(x: np.ndarray, y: np.ndarray) -> Fit | None:
    """The least-squares line; `None` if there are fewer than two points or all `x` are equal."""
    if len(x) < 2 or np.ptp(x) == 0:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    correlation = np.corrcoef(x, y)[0, 1] if np.ptp(y) > 0 else 0.0
    return Fit(float(slope), float(intercept), float(correlation))


def _smoothed_mass(nodes: np.ndarray, weights: np.ndarray, epsilon: float) -> np.ndarray:
    """The mass of the smoothed density beyond epsilon: `[seeds, tasks]`."""

    @eqx.filter_jit
    def mass(pair: tuple[Array, Array]) -> Float[Array, ""]:
        return smoothed_density_mass(as_spectrum(*pair), epsilon)

    flat = [jnp.asarray(x.reshape(-1, *x.shape[2:])) for x in (nodes, weights)]
    masses = jax.lax.map(mass, (flat[0], flat[1]))
    return np.asarray(masses).reshape(nodes.shape[:2])
