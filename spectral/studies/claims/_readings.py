"""What is read from the history of one training run: one number per task."""

import abc

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..._history import History
from ...curvature import smoothed_density_mass
from ...theory import dense_rank_bound
from ..analysis._spectra import as_spectrum, of_each
from ..measures._measure import performance, Series


class NotRecorded(Exception):
    """A history does not have what a claim is about; the message names it."""


class AbstractReading(eqx.Module):
    """One number per task of a history, NaN where nothing was measured."""

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """What it is, for tables."""

    @abc.abstractmethod
    def of(self, history: History) -> Series:
        """**Raises:** `NotRecorded` if the history does not have it."""


class Performance(AbstractReading):
    """The first recorded measure of how well tasks were learned, such as the test accuracy."""

    @property
    def text(self) -> str:
        return "performance"

    def of(self, history: History) -> Series:
        found = performance(history)
        if found is None:
            raise NotRecorded("no measure of performance")
        return found.series


class Recorded(AbstractReading):
    """A recorded column. Its quantity says how an array becomes one number per task."""

    column: str = eqx.field(static=True)
    label: str = eqx.field(static=True)

    @property
    def text(self) -> str:
        return self.label

    def of(self, history: History) -> Series:
        values = _column(history, self.column)
        quantity = history.quantities.get(self.column)
        if quantity is not None:
            return quantity.series(values)
        return values.reshape(len(values), -1).mean(axis=1)


class PublishedRank(AbstractReading):
    """The eps-rank by the published estimator: the mass of the smoothed density beyond 0.1."""

    probe: str = eqx.field(static=True, default="hessian")

    @property
    def text(self) -> str:
        return "eps-rank (published estimator)"

    def of(self, history: History) -> Series:
        nodes, weights = _spectrum(history, self.probe)
        found, known = np.full(len(nodes), np.nan), np.isfinite(nodes).all(axis=(1, 2))
        if known.any():
            found[known] = of_each(_mass, nodes[known], weights[known])
        return found


class SecondOverLargest(AbstractReading):
    """The second largest eigenvalue of the Hessian over the largest: small in a valley, 1 in a
    bowl. The mean over the random vectors of the quadrature."""

    probe: str = eqx.field(static=True, default="hessian")

    @property
    def text(self) -> str:
        return "second eigenvalue over the largest"

    def of(self, history: History) -> Series:
        nodes = np.sort(_spectrum(history, self.probe)[0], axis=2)
        return np.mean(nodes[..., -2] / nodes[..., -1], axis=1)


class DeadUnitBound(AbstractReading):
    """The bound of Theorem 6.2, as a fraction of the parameters of dense layers of these `sizes`.

    The theorem is for one hidden layer; `theory.dense_rank_bound` has it for several.
    """

    sizes: tuple[int, ...] = eqx.field(static=True)
    probe: str = eqx.field(static=True, default="dead")

    @property
    def text(self) -> str:
        return "bound of Theorem 6.2 over the number of parameters"

    def of(self, history: History) -> Series:
        fractions = _column(history, f"{self.probe}.start.by_layer")
        total = dense_rank_bound(self.sizes, [0] * (len(self.sizes) - 2))
        found = np.full(len(fractions), np.nan)
        for task in np.flatnonzero(np.isfinite(fractions).all(axis=1)):
            counts = np.rint(fractions[task] * np.array(self.sizes[1:-1])).astype(int)
            found[task] = dense_rank_bound(self.sizes, counts.tolist()) / total
        return found


def _column(history: History, column: str) -> np.ndarray:
    if column not in history:
        raise NotRecorded(f"column {column}")
    return history[column]


def _spectrum(history: History, probe: str) -> tuple[np.ndarray, np.ndarray]:
    return _column(history, f"{probe}.start.nodes"), _column(history, f"{probe}.start.weights")


def _mass(
    nodes: Float[Array, "vectors order"], weights: Float[Array, "vectors order"]
) -> Float[Array, ""]:
    return smoothed_density_mass(as_spectrum(nodes, weights), 0.1)
