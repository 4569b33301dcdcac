"""What the figures and the report of a run have in common."""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from ...curvature import Spectrum
from ..measures._measures import measures, Moment, probed
from ..runs._folder import Member, Results


# Okabe and Ito's palette, which colour-blind readers can tell apart. Yellow is left out, for it
# cannot be seen on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # letters stay letters
}


def save_figures(
    drawings: Mapping[str, Callable[[], Figure | None]], folder: pathlib.Path
) -> list[pathlib.Path]:
    """Draw, and write what there is to be seen as PNG and PDF. Returns the files."""
    files = []
    with matplotlib.rc_context(STYLE):
        for name, draw in drawings.items():
            figure = draw()
            if figure is not None:
                folder.mkdir(parents=True, exist_ok=True)
                for kind in ("png", "pdf"):
                    files.append(folder / f"{name}.{kind}")
                    figure.savefig(files[-1], dpi=200)
    return files


def finished(results: Results) -> Iterator[tuple[str, list[Member]]]:
    """Each algorithm with the members that finished, if there are any."""
    for algorithm in results.settings["algorithms"]:
        members = [m for m in results.of(algorithm) if m.status == "finished"]
        if members:
            yield algorithm, members


def colour(results: Results, algorithm: str) -> str:
    """Of an algorithm: the same in all figures of a run."""
    return COLOURS[list(results.settings["algorithms"]).index(algorithm) % len(COLOURS)]


def label(results: Results, algorithm: str) -> str:
    """What a legend calls an algorithm: with its seeds, if not all finished."""
    seeds = results.settings["seeds"]
    done = len(dict(finished(results))[algorithm])
    diverged = sum(m.status == "diverged" for m in results.of(algorithm))
    why = f", {diverged} diverged" if diverged else ""
    return algorithm if done == seeds else f"{algorithm} ({done} of {seeds} seeds{why})"


def hessian_probes(results: Results) -> list[str]:
    """The probes of a Hessian spectrum."""
    probes = results.settings["probes"].items()
    return [name for name, p in probes if p["type"] == "HessianSpectrum"]


def column(member: Member, probe: str, what: str) -> tuple[Moment, np.ndarray]:
    """When a probe recorded something that every run with it has, and what."""
    known = probed(probe, what, member.history)
    assert known is not None
    return known


def accuracy(results: Results, member: Member) -> Float[np.ndarray, " tasks"] | None:
    """The accuracy of each task: on test rows, or else online; `None` if there is none."""
    known = measures(results.settings["probes"], member.history)
    for name in ("accuracy", "online accuracy"):
        if name in known:
            return known[name].series
    return None


def as_spectrum(
    nodes: Float[Array | np.ndarray, "probes order"],
    weights: Float[Array | np.ndarray, "probes order"],
) -> Spectrum:
    """The quadrature in a history. No density needs what a history does not hold."""
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
