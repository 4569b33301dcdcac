"""How a sign and the outcome go together within runs, across algorithms and across seeds."""

import numpy as np
from jaxtyping import Float

from ._bootstrap import Drawn, mean_of_runs, mean_of_seeds, Weights
from ._tau import pair_signs, partial_tau, spearman, tau_b
from ._values import Values


FEWEST_CHECKPOINTS = 3  # of a run, for a correlation within it
FEWEST = 3  # algorithms, or seeds of one, for a correlation across them


def within_runs(x: Values, y: Values, weights: Weights) -> tuple[Drawn, float]:
    """The mean over runs of tau-b over the checkpoints of a run, and that of Spearman's."""
    enough = _count(x, y) >= FEWEST_CHECKPOINTS
    taus, rhos = (np.where(enough, f(x, y), np.nan) for f in (tau_b, spearman))
    return mean_of_runs(taus, weights), float(mean_of_runs(rhos, weights[:1])[0])


def given_trivial(x: Values, y: Values, controls: list[Values], weights: Weights) -> Drawn:
    """The mean over runs of the partial tau-b given the trivial predictors.

    A run needs two checkpoints more than there are controls.
    """
    known = _count(x, y, *controls) >= max(FEWEST_CHECKPOINTS, len(controls) + 2)
    return mean_of_runs(np.where(known, partial_tau(x, y, controls), np.nan), weights)


def across_algorithms(x: Values, y: Values, weights: Weights) -> tuple[Drawn, float]:
    """Tau-b over the algorithms, of means over checkpoints and then over seeds, and Spearman's.

    The number of points is that of algorithms.
    """
    known = ~(np.isnan(x) | np.isnan(y))
    one, other = (mean_of_seeds(_mean(np.where(known, v, np.nan)), weights) for v in (x, y))
    enough = (~(np.isnan(one) | np.isnan(other))).sum(1) >= FEWEST
    taus = np.where(enough, tau_b(one, other), np.nan)
    return taus, float(spearman(one[:1], other[:1])[0]) if enough[0] else np.nan


def across_seeds(x: Values, y: Values, weights: Weights) -> tuple[Drawn, float]:
    """Tau-b over the seeds of an algorithm at one checkpoint, as the mean over all algorithms and
    checkpoints, and Spearman's.

    All seeds have the same task index there, so no trend over tasks makes it.
    """
    x, y = np.swapaxes(x, 1, 2), np.swapaxes(y, 1, 2)
    known = ~(np.isnan(x) | np.isnan(y))
    a, b = (pair_signs(np.where(known, v, np.nan)) for v in (x, y))
    enough = known.sum(2) >= FEWEST
    of_pairs = lambda signs: np.einsum("dai,dak,acik->dac", weights, weights, signs, optimize=True)
    size = np.sqrt(of_pairs(a * a) * of_pairs(b * b))
    known_size = np.where(enough & (size > 0), size, np.nan)
    taus = of_pairs(a * b) / known_size
    rhos = np.where(enough, spearman(x, y), np.nan)
    return _mean(taus.reshape(len(taus), -1)), float(_mean(rhos.reshape(-1)))


def _count(*values: Values) -> np.ndarray:
    return (~np.any([np.isnan(v) for v in values], axis=0)).sum(axis=2)


def _mean(values: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows"]:
    """The mean of the known entries along the last axis; NaN without any."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    total = np.where(known, values, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
