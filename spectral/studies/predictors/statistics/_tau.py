"""Rank correlations of many pairs of series at once. SciPy takes one pair in a call."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def pair_signs(values: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows n n"]:
    """The signs of all differences of two values; 0 if they are equal or one is NaN."""
    with np.errstate(invalid="ignore"):
        differences = values[..., :, None] - values[..., None, :]
    return np.nan_to_num(np.sign(differences))


def tau_b(
    x: Float[np.ndarray, "*rows n"], y: Float[np.ndarray, "*rows n"]
) -> Float[np.ndarray, "*rows"]:
    """Kendall's tau-b along the last axis, over the entries that both have.

    It is the correlation of the signs of all pairs (Daniels, 1944). NaN where all values of a
    series are equal, or fewer than two are known.
    """
    a, b = map(pair_signs, _jointly(x, y))
    return _correlation((a * b).sum((-2, -1)), (a * a).sum((-2, -1)), (b * b).sum((-2, -1)))


def spearman(
    x: Float[np.ndarray, "*rows n"], y: Float[np.ndarray, "*rows n"]
) -> Float[np.ndarray, "*rows"]:
    """Spearman's rank correlation along the last axis, as `tau_b`.

    The sum of a value's pair signs is twice its rank minus the mean rank, also for ties.
    """
    a, b = (pair_signs(values).sum(-1) for values in _jointly(x, y))
    return _correlation((a * b).sum(-1), (a * a).sum(-1), (b * b).sum(-1))


def partial_tau(
    x: Float[np.ndarray, "*rows n"],
    y: Float[np.ndarray, "*rows n"],
    controls: Sequence[Float[np.ndarray, "*rows n"]],
) -> Float[np.ndarray, "*rows"]:
    """Kendall's partial tau-b given some controls, over the entries that all have.

    The partial correlation of the signs of all pairs: for one control it is Kendall's (1942), and
    for several that of the inverse matrix of all tau-b (as in the R package ppcor; Kim, 2015).
    Controls that say the same count once. NaN where the controls leave nothing of `x` or of `y`, as
    of a monotone function of one of them.
    """
    *others, x, y = _jointly(*controls, x, y)
    signs = [pair_signs(values).reshape(*values.shape[:-1], -1) for values in (*others, x, y)]
    rows = np.stack(signs, axis=-2)
    products = rows @ np.swapaxes(rows, -1, -2)
    size = np.sqrt(np.diagonal(products, axis1=-2, axis2=-1))
    scale = np.where(size > 0, size, 1.0)
    taus = products / (scale[..., :, None] * scale[..., None, :])
    k = len(controls)
    among, given = taus[..., :k, :k], taus[..., :k, k:]
    # What remains of the correlations of x and y. The pseudo-inverse allows equal controls.
    left = taus[..., k:, k:] - np.swapaxes(given, -1, -2) @ np.linalg.pinv(among, 1e-9) @ given
    left = np.where(np.abs(left) < 1e-9, 0.0, left)
    return _correlation(left[..., 0, 1], left[..., 0, 0], left[..., 1, 1])


def _jointly(*series: Float[np.ndarray, "*rows n"]) -> list[Float[np.ndarray, "*rows n"]]:
    """The series, with NaN in all of them where one has it."""
    known = ~np.any([np.isnan(values) for values in series], axis=0)
    return [np.where(known, values, np.nan) for values in series]


def _correlation(
    product: np.ndarray | np.floating,
    of_first: np.ndarray | np.floating,
    of_second: np.ndarray | np.floating,
) -> np.ndarray:
    size = np.sqrt(of_first * of_second)
    return np.where(size > 0, product / np.where(size > 0, size, 1.0), np.nan)
