"""How well a sign says which branches reach the trainability of fresh networks."""

import numpy as np

from ._bootstrap import Drawn, Weights
from ._values import Values


def roc_area(x: Values, reached: Values, weights: Weights) -> Drawn:
    """The area under the ROC curve of `x` for `reached`, stratified by algorithm: the probability
    that of two branches of one algorithm, one of which reached, that one has the higher sign.

    Ties count one half. All pairs count once, of all seeds and checkpoints of an algorithm.
    """
    known = ~(np.isnan(x) | np.isnan(reached))
    yes, no = known & (reached == 1), known & (reached == 0)
    seeds = x.shape[1]
    ordered, pairs = (np.zeros((len(x), seeds, seeds)) for _ in range(2))
    for i in range(seeds):
        for j in range(seeds):
            one, other = x[:, i, :, None], x[:, j, None, :]
            both = yes[:, i, :, None] & no[:, j, None, :]
            ordered[:, i, j] = (both * ((one > other) + 0.5 * (one == other))).sum((1, 2))
            pairs[:, i, j] = both.sum((1, 2))
    ordered, pairs = (
        np.einsum("dai,daj,aij->d", weights, weights, values, optimize=True)
        for values in (ordered, pairs)
    )
    return np.where(pairs > 0, ordered / np.where(pairs > 0, pairs, 1.0), np.nan)


def best_threshold(x: Values, reached: Values) -> float:
    """The value from which on a branch is best said to reach: that with the largest sum of the two
    rates of right answers (Youden, 1950). NaN if all branches reach, or none does."""
    known = ~(np.isnan(x) | np.isnan(reached))
    values, right = x[known], reached[known] == 1
    if right.all() or not right.any():
        return np.nan
    tried = np.unique(values)
    return float(tried[np.argmax([_right_answers(values, right, t) for t in tried])])


def right_answers(x: Values, reached: Values, threshold: float) -> float:
    """The mean of the rates of right answers among branches that reach and that do not, with a
    threshold; 0.5 is guessing. NaN without a threshold, or if one kind of branches is missing."""
    known = ~(np.isnan(x) | np.isnan(reached))
    right = reached[known] == 1
    if np.isnan(threshold) or right.all() or not right.any():
        return np.nan
    return _right_answers(x[known], right, threshold)


def _right_answers(values: np.ndarray, right: np.ndarray, threshold: float) -> float:
    said = values >= threshold
    return float((said[right].mean() + (~said[~right]).mean()) / 2)
