"""The spectra of the Hessian that a run has recorded."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...curvature import density, Spectrum
from ..measures._measure import Moment
from ..runs._results import Member, Results


_SPECTRUM = ("nodes", "weights", "normalised_epsilon_rank")
_MOMENTS: tuple[Moment, ...] = ("start", "end")
_BLOCK = 16  # spectra in one call of a program


class HessianProbe(NamedTuple):
    """The name of a probe of a Hessian spectrum, and its epsilon."""

    name: str
    epsilon: float


def hessian_probes(results: Results) -> list[HessianProbe]:
    """The probes of a run that record a spectrum and count eigenvalues beyond an epsilon."""
    probes = results.settings["probes"].items()
    recorded = {column for member in results.members for column in member.history}
    return [
        HessianProbe(name, probe["epsilon"])
        for name, probe in probes
        if "epsilon" in probe
        and any({f"{name}.{when}.{what}" for what in _SPECTRUM} <= recorded for when in _MOMENTS)
    ]


def column(member: Member, probe: str, what: str) -> tuple[Moment, np.ndarray]:
    """The column `what` of a probe that always records it, and when it was measured: at the start
    of tasks if it was recorded there, else at their end."""
    history = member.history
    return next((w, history[c]) for w in _MOMENTS if (c := f"{probe}.{w}.{what}") in history)


def as_spectrum(
    nodes: Float[Array | np.ndarray, "vectors order"],
    weights: Float[Array | np.ndarray, "vectors order"],
) -> Spectrum:
    """The spectrum of a recorded quadrature.

    The fields that a history does not hold are NaN. Densities do not need them.
    """
    unknown = jnp.full(nodes.shape, jnp.nan)
    return Spectrum(
        nodes=jnp.asarray(nodes),
        weights=jnp.asarray(weights),
        residuals=unknown,
        diagonal=unknown,
        off_diagonal=unknown[:, 1:],
        exhausted=jnp.zeros(len(nodes), bool),
        tolerance=unknown[:, 0],
        dim=nodes.shape[1],
    )


def spaced(tasks: Int[np.ndarray, " tasks"], count: int) -> Int[np.ndarray, " spaced"]:
    """At most `count` of the tasks, at equal distances from the first to the last."""
    return np.unique(tasks[np.linspace(0, len(tasks) - 1, count).round().astype(int)])


def densities(
    nodes: Float[np.ndarray, "spectra vectors order"],
    weights: Float[np.ndarray, "spectra vectors order"],
    grid: Float[np.ndarray, " points"],
    *,
    width: float,
) -> Float[np.ndarray, "spectra points"]:
    """The smoothed densities of recorded quadratures on a grid."""
    grids, widths = np.tile(grid, (len(nodes), 1)), np.full(len(nodes), width)
    return of_each(_density, nodes, weights, grids, widths)


def of_each(function: Callable[..., Array], *arrays: np.ndarray) -> np.ndarray:
    """A function of the rows of arrays, for each row.

    The number of rows is not part of the program, so the spectra of all algorithms of a run share
    one.
    """
    count, found = len(arrays[0]), []
    for first in range(0, count, _BLOCK):
        # The last block is filled with repetitions of the last row.
        rows = np.minimum(np.arange(first, first + _BLOCK), count - 1)
        found.append(np.asarray(_mapped(function, *(jnp.asarray(a[rows]) for a in arrays))))
    return np.concatenate(found)[:count]


@eqx.filter_jit
def _mapped(function: Callable[..., Array], *arrays: Array) -> Array:
    return jax.lax.map(lambda row: function(*row), arrays)


def _density(
    nodes: Float[Array, "vectors order"],
    weights: Float[Array, "vectors order"],
    grid: Float[Array, " points"],
    width: Float[Array, ""],
) -> Float[Array, " points"]:
    return density(as_spectrum(nodes, weights), grid, width=width)
