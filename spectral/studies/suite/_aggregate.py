"""Scores of several seeds and streams as one number, with its uncertainty.

Source: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical
Precipice".
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


Scores = Float[np.ndarray, "seeds streams"]
Draws = Float[np.ndarray, "*draws seeds streams"]
Values = Float[np.ndarray, "*draws"] | float


class Estimate(NamedTuple):
    """A number, and the ends of its 95 % interval."""

    value: float
    lower: float
    upper: float


def interquartile_mean(scores: Draws) -> Values:
    """The mean of the middle half of all scores of all seeds and streams.

    Of n sorted scores the first and the last floor(n / 4) are left out, as by
    `scipy.stats.trim_mean(scores, 0.25, axis=None)`.

    ```python
    interquartile_mean(np.array([[0.0], [1.0], [2.0], [9.0]]))  # 1.5
    ```
    """
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = ordered.shape[-1] // 4
    return np.mean(ordered[..., cut : ordered.shape[-1] - cut], axis=-1)


def probability_of_improvement(
    scores: Draws, others: Float[np.ndarray, "*draws others streams"]
) -> Values:
    """How probable it is that a seed of `scores` is better than one of `others` on the same stream.

    Equal scores count one half (the Mann-Whitney statistic). Streams have equal weights.
    """
    difference = scores[..., :, None, :] - others[..., None, :, :]
    return np.mean(np.heaviside(difference, 0.5), axis=(-3, -2, -1))


def bootstrap_interval(
    statistic: Callable[..., Values],
    *samples: Float[np.ndarray, "_seeds streams"],
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The statistic of the samples, with a stratified percentile bootstrap interval.

    Seeds are drawn with replacement, in each stream and each sample by themselves, so every draw
    has the number of scores of each stream that there are.
    """
    generator = np.random.default_rng(seed)

    def drawn(scores: Scores) -> Draws:
        rows = generator.integers(len(scores), size=(draws, *scores.shape))
        return np.take_along_axis(scores[None], rows, axis=1)

    found = statistic(*map(drawn, samples))
    lower, upper = np.quantile(found, [0.025, 0.975])
    return Estimate(float(statistic(*samples)), float(lower), float(upper))
