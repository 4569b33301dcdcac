"""The spectra of the Hessian that a run has recorded."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...curvature import Spectrum
from ..measures._measures import Moment, probed
from ..runs._results import Member, Results


class HessianProbe(NamedTuple):
    """The name of a probe of a Hessian spectrum, and its epsilon."""

    name: str
    epsilon: float


def hessian_probes(results: Results) -> list[HessianProbe]:
    """The probes of a run that measure a Hessian spectrum."""
    probes = results.settings["probes"].items()
    return [HessianProbe(n, p["epsilon"]) for n, p in probes if p["type"] == "HessianSpectrum"]


def column(member: Member, probe: str, what: str) -> tuple[Moment, np.ndarray]:
    """The column `what` of a probe that always records it, and when it was measured."""
    known = probed(probe, what, member.history)
    assert known is not None
    return known


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
