"""The spectra of the Hessian that a run has recorded."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...curvature import Spectrum
from ..measures._measure import Moment
from ..runs._results import Member, Results


_SPECTRUM = ("nodes", "weights", "normalised_epsilon_rank")
_MOMENTS: tuple[Moment, ...] = ("start", "end")


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
