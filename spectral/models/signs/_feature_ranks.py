"""All ranks of the features of a layer, each with its definition."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._base._precision import in_single
from ..._base._scaling import exponent_of, times_power
from ..units._feature_rank import (
    feature_effective_rank,
    feature_stable_rank,
    singular_values,
    srank99,
)


def feature_ranks(features: Float[Array, "examples units"]) -> dict[str, Float[Array, ""]]:
    """Returns the ranks of a feature matrix that publications use, by name.

    With the singular values s of the features, which are not centred unless said:

    | name | definition | (2, 1) |
    |---|---|---|
    | `feature_effective_rank` | exp(entropy of s / sum s), Roy and Vetterli | 1.890 |
    | `squared_effective_rank` | exp(entropy of s^2 / sum s^2) | 1.649 |
    | `participation` | (sum s^2)^2 / sum s^4 | 1.471 |
    | `centred_participation` | the same, the mean of each unit subtracted | |
    | `feature_stable_rank` | sum s^2 / max s^2 | 1.25 |
    | `srank99` | how many s hold 99 % of sum s, Kumar et al. | 2 |
    | `energy99` | how many s^2 hold 99 % of sum s^2, Wang et al. | 2 |

    The last column has them for a matrix with the singular values 2 and 1. `centred_participation`
    is what Joudaki et al. (2026) call stable rank; the features of ReLUs have a large mean, so
    centring matters. No rank exceeds the number of examples: compare networks on equally many
    examples, twice the width or more. All are 0 for a matrix of zeros, and NaN for one with
    non-finite entries. All take one singular value decomposition and a product.

    ```python
    jax.jit(feature_ranks)(jnp.array([[2.0, 0.0], [0.0, 1.0]]))["participation"]  # 1.471
    ```
    """
    s = singular_values(features)
    squares = times_power(s, -exponent_of(s)) ** 2
    total = jnp.sum(squares)
    p = squares / jnp.where(total == 0, 1, total)
    entropy = -jnp.sum(p * jnp.log(jnp.where(p == 0, 1, p)))
    count = jnp.argmax(jnp.cumsum(squares) >= 0.99 * total) + 1
    kept = lambda rank: jnp.where(total == 0, 0, jnp.where(jnp.isfinite(total), rank, jnp.nan))
    centred = in_single(features) - jnp.mean(in_single(features), axis=0, keepdims=True)
    return {
        "feature_effective_rank": feature_effective_rank(features),
        "srank99": srank99(features),
        "feature_stable_rank": feature_stable_rank(features),
        "squared_effective_rank": kept(jnp.exp(entropy)),
        "participation": kept(1 / jnp.sum(jnp.where(total == 0, 1, p**2))),
        "centred_participation": _participation(centred),
        "energy99": kept(count),
    }


def _participation(features: Float[Array, "examples units"]) -> Float[Array, ""]:
    """tr(C)^2 / tr(C^2) with C = A^T A or A A^T, without singular values."""
    scaled = times_power(features, -exponent_of(features))
    tall = scaled.shape[0] > scaled.shape[1]
    gram = jnp.matmul(*((scaled.T, scaled) if tall else (scaled, scaled.T)), precision="highest")
    total, squares = jnp.sum(scaled**2), jnp.sum(gram**2)
    return jnp.where(total == 0, 0, total**2 / jnp.where(total == 0, 1, squares))
