"""Balls, and how much of one lies inside another."""

import math

import numpy as np
import scipy.integrate
import scipy.special
from jaxtyping import ArrayLike, Float

from ..._arguments import check_above, check_count


_FAR = 100.0  # below exp(-_FAR) an incomplete beta function is computed by Gauss-Laguerre
_NODES, _WEIGHTS = scipy.special.roots_laguerre(40)


def ball_overlap(
    reach: float, distance: Float[ArrayLike, "..."], dim: int, *, radius: float = 1.0
) -> Float[np.ndarray, "..."]:
    """Returns the fraction of a ball around the origin that lies within `reach` of a point at the
    given distance from the origin.

    Step (15) of the paper uses (reach / radius)^dim, which is correct only if the ball of radius
    `reach` lies inside. The intersection consists of two caps, whose volumes are incomplete beta
    functions.

    ```python
    ball_overlap(0.5, 0.0, 3)  # 0.125
    ball_overlap(0.5, 1.0, 1)  # 0.25: half of the interval around an end lies outside
    ```

    **Raises:** `ValueError` if `reach` or `distance` is negative, `radius` is not positive, or
    `dim` is below 1.
    """
    check_above("reach", reach, 0, strict=False)
    check_above("distance", distance, 0, strict=False)
    check_above("radius", radius, 0)
    check_count("dim", dim)
    a, d = float(reach) / float(radius), np.asarray(distance, np.float64) / radius
    if a == 0:
        return np.zeros(d.shape)
    inside = np.minimum(a, 1.0) ** dim
    crossing = (d > abs(1 - a)) & (d < 1 + a)
    safe = np.where(crossing, d, max(a, 1.0))
    # Signed distances from either centre to the plane through the intersection of the spheres.
    from_origin = (safe**2 + 1 - a**2) / (2 * safe)
    from_point = (safe**2 + a**2 - 1) / (2 * safe)
    # In high dimensions a^dim overflows while the cap that it multiplies underflows.
    caps = np.exp(_log_cap(from_origin, dim)) + np.exp(
        dim * math.log(a) + _log_cap(from_point / a, dim)
    )
    return np.where(crossing, caps, np.where(d <= abs(1 - a), inside, 0.0))


def mean_miss(reach: float, num_examples: int, dim: int, *, radius: float = 1.0) -> float:
    """Returns the probability that none of `num_examples` points, uniform in the ball, lies within
    `reach` of another such point: the mean of (1 - `ball_overlap`)^num_examples over the distance
    of that point from the origin."""

    def miss(u: float) -> float:
        # A fraction u of the volume lies below this distance.
        overlap = ball_overlap(reach, np.asarray(radius * u ** (1 / dim)), dim, radius=radius)
        return float(np.exp(num_examples * np.log1p(-np.minimum(overlap, 1 - 1e-16))))

    kink = min(abs(1 - reach / radius), 1.0) ** dim
    points = sorted({0.0, kink, 1.0})
    pieces = zip(points[:-1], points[1:], strict=True)
    return sum(scipy.integrate.quad(miss, a, b, limit=200, epsabs=1e-13)[0] for a, b in pieces)


def check_ball(num_examples: int, dim: int, radius: float) -> None:
    """**Raises:** `ValueError` if a number is below 1, or the radius is not positive."""
    check_count("num_examples", num_examples)
    check_count("dim", dim)
    check_above("radius", radius, 0)


def _log_cap(height: Float[ArrayLike, "..."], dim: int) -> Float[np.ndarray, "..."]:
    """Logarithm of the fraction of the unit ball beyond a plane at this signed distance from its
    centre."""
    height = np.clip(height, -1, 1)
    log_beta = _log_betainc((dim + 1) / 2, (1 - height) * (1 + height))
    half = np.minimum(log_beta, 0) - math.log(2)
    return np.where(height >= 0, half, np.log1p(-np.exp(half)))


def _log_betainc(p: float, x: Float[ArrayLike, "..."]) -> Float[np.ndarray, "..."]:
    """Logarithm of the regularised incomplete beta function I_x(p, 1/2), also where the function
    underflows."""
    with np.errstate(divide="ignore"):
        direct, log_x = np.log(scipy.special.betainc(p, 0.5, x)), np.log(x)
    # With t = x exp(-s/p) the integral of t^(p-1) (1 - t)^(-1/2) from 0 to x is x^p / p times that
    # of exp(-s) (1 - x exp(-s/p))^(-1/2), which is smooth where x^p is small.
    far = p * log_x < -_FAR
    near_one = np.where(far, x, 0)[..., None] * np.exp(-_NODES / p)
    factor = np.sum(_WEIGHTS / np.sqrt(1 - near_one), axis=-1)
    log_integral = p * log_x - math.log(p) + np.log(factor)
    return np.where(far, log_integral - scipy.special.betaln(p, 0.5), direct)
