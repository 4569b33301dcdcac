"""Three measures of the rank of the features of a layer, which are often confused."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._base._precision import in_single
from ..._base._scaling import exponent_of, times_power


def singular_values(features: Float[Array, "examples units"]) -> Float[Array, " smaller"]:
    """The singular values of the feature matrix, largest first."""
    return jnp.linalg.svd(in_single(features), compute_uv=False)


def feature_effective_rank(features: Float[Array, "examples units"]) -> Float[Array, ""]:
    """exp(entropy of p), with p the singular values divided by their sum (Roy & Vetterli, 2007).

    Rows are examples, columns are units; the matrix is not centred. The result lies between 1 and
    the rank. It is 0 for a matrix of zeros and NaN for a matrix with non-finite entries.

    The derivative is exact along resolved singular directions, those with a singular value above
    `max(shape) * eps` times the largest (NumPy's criterion for the rank). In the null space the
    derivative is unbounded, because -p log p has infinite slope at 0; there it is set to zero. The
    gradient is therefore finite with dead units, repeated units and all-zero features.

    The singular values are computed in float32 at least, whatever the precision of the features.

    ```python
    feature_effective_rank(jnp.eye(3))            # 3.0
    jax.grad(feature_effective_rank)(jnp.eye(3))  # zero: a maximum
    ```
    """
    return _effective_rank(in_single(features))


@jax.custom_jvp
def _effective_rank(features: Float[Array, "examples units"]) -> Float[Array, ""]:
    return _entropy_rank(*_resolved(singular_values(features), features.shape))[0]


@_effective_rank.defjvp
def _effective_rank_jvp(primals, tangents):
    # With A = U diag(s) V^T and c = d ER / d s, d ER = <U diag(c) V^T, dA>. The SVD of the
    # triangular factor of a QR decomposition costs a fraction of the SVD of A and is as precise
    # (the eigenvalues of A A^T would lose half the digits). V^T is diag(1 / s) U^T A.
    (features,), (tangent,) = primals, tangents
    tall = features.shape[0] > features.shape[1]
    wide, wide_tangent = (features.T, tangent.T) if tall else (features, tangent)
    triangle = jnp.linalg.qr(wide.T, mode="r")
    u, s, _ = jnp.linalg.svd(triangle.T)
    # Divide by the largest, so that the products below neither overflow nor underflow.
    largest = jnp.where(s[0] > 0, s[0], 1)
    s, resolved = _resolved(s / largest, features.shape)
    rank, slope = _entropy_rank(s, resolved)
    scale = slope / jnp.where(resolved, s, 1)
    gradient = (u * scale[None, :]) @ (u.T @ (wide / largest)) / largest
    return rank, jnp.sum(gradient * wide_tangent)


def srank99(features: Float[Array, "examples units"]) -> Float[Array, ""]:
    """The smallest k such that the k largest singular values make up 99 % of the sum of all.

    Kumar et al. (2021); Dohare et al. (2024) call it "stable rank". 0 for a matrix of zeros, NaN
    for a matrix with non-finite entries.
    """
    s = singular_values(features)
    total = jnp.sum(s)
    count = jnp.argmax(jnp.cumsum(s) >= 0.99 * total) + 1
    return jnp.where(jnp.isfinite(total), jnp.where(total > 0, count, 0), jnp.nan)


def feature_stable_rank(features: Float[Array, "examples units"]) -> Float[Array, ""]:
    """||A||_F^2 / ||A||_2^2, the stable rank of numerical analysis. 0 for a matrix of zeros, NaN
    for a matrix with non-finite entries."""
    s = singular_values(features)
    s = times_power(s, -exponent_of(s))
    return jnp.sum(s**2) / jnp.where(s[0] > 0, s[0] ** 2, 1)


def _resolved(s: Float[Array, " k"], shape: tuple[int, ...]) -> tuple[Float[Array, " k"], Array]:
    return s, s > s[0] * max(shape) * jnp.finfo(s.dtype).eps


def _entropy_rank(
    s: Float[Array, " k"], resolved: Array
) -> tuple[Float[Array, ""], Float[Array, " k"]]:
    """The effective rank and its derivative with respect to each singular value."""
    total = jnp.sum(s)
    # XLA turns divisions by a common number into products with its reciprocal in some programs but
    # not in others. Writing the product here makes all programs agree to the bit.
    inverse_total = 1 / jnp.where(total > 0, total, 1)
    p = s * inverse_total
    log_p = jnp.log(jnp.where(resolved, p, 1))
    entropy = -jnp.sum(p * log_p)
    rank = jnp.where(total == 0, 0, jnp.exp(entropy))
    slope = jnp.where(resolved, -rank * (log_p + entropy), 0) * inverse_total
    return rank, slope
