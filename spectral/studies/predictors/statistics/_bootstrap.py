"""Draws of seeds within fixed algorithms, and what they say of a number."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...measures._interval import bootstrap_tail


Weights = Float[np.ndarray, "draws algorithms seeds"]
Drawn = Float[np.ndarray, " draws"]


class Estimate(NamedTuple):
    """A number, and its 95 % bootstrap interval over seeds; NaN where there is none."""

    value: float
    low: float = np.nan
    high: float = np.nan


def seed_draws(
    present: Bool[np.ndarray, "algorithms seeds"], *, num_samples: int, seed: int
) -> Weights:
    """How often each run is drawn: once in the first row. Each of the others draws from the runs of
    an algorithm with replacement, to their number. Runs that are not present are never drawn."""
    rng = np.random.default_rng(seed)
    counts = present.sum(axis=1)
    drawn = np.zeros((num_samples, *present.shape))
    for i, (row, count) in enumerate(zip(present, counts, strict=True)):
        if count:
            drawn[:, i, row] = rng.multinomial(count, np.full(count, 1 / count), num_samples)
    return np.concatenate([present[None].astype(float), drawn])


def mean_of_runs(values: Float[np.ndarray, "algorithms seeds"], weights: Weights) -> Drawn:
    """The mean over the runs that have a value, for each draw."""
    known = ~np.isnan(values)
    total = (weights * np.where(known, values, 0.0)).sum((1, 2))
    return _over(total, (weights * known).sum((1, 2)))


def mean_of_seeds(
    values: Float[np.ndarray, "algorithms seeds"], weights: Weights
) -> Float[np.ndarray, "draws algorithms"]:
    """The mean over the seeds of each algorithm that have a value, for each draw."""
    known = ~np.isnan(values)
    # A branch that diverged has an infinite outcome, and 0 times infinity is not a number.
    terms = np.where(known & (weights > 0), values, 0.0) * np.where(weights > 0, weights, 1.0)
    return _over(terms.sum(2), (weights * known).sum(2))


def estimate(drawn: Drawn, present: Bool[np.ndarray, "algorithms seeds"]) -> Estimate:
    """The number of the first draw, and the percentile interval of the others.

    The percentiles are wider for few seeds, as those of `lead_time`; with the same seeds for every
    algorithm, the spread of the draws is too small by sqrt((n - 1) / n). NaN without other draws,
    or for an algorithm with a single seed.
    """
    counts = present.sum(axis=1)
    counts = counts[counts > 0]
    others, seeds = drawn[1:], min(counts, default=0)
    others = others[~np.isnan(others)]
    if seeds < 2 or not len(others) or np.isnan(drawn[0]):
        return Estimate(float(drawn[0]))
    tail = bootstrap_tail(int(seeds), freedom=int((counts - 1).sum()))
    low, high = np.quantile(others, [tail, 1 - tail])
    return Estimate(float(drawn[0]), float(low), float(high))


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)
