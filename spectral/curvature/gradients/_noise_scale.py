"""How large the noise of minibatch gradients is, compared with the gradient."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_above, check_count
from ._moments import GradientMoments


def gradient_noise_scale(moments: GradientMoments, *, unbiased: bool = False) -> Float[Array, ""]:
    """B_simple = V1 / ||g||^2: at this minibatch size the noise of a step is as large as its
    gradient (McCandlish et al., 2018).

    ```python
    import jax.numpy as jnp
    from spectral.curvature import gradient_moments, gradient_noise_scale

    gradient_noise_scale(gradient_moments(jnp.array([[2.0, 0.0], [0.0, 2.0]])))  # 1
    ```

    **Arguments:**

    - `moments`: from `gradient_moments`.
    - `unbiased`: divide the unbiased estimates for the distribution that the examples come from,
        instead of the numbers of these examples. NaN if that of ||g||^2 is not positive.

    **Returns:** a number of examples; infinite if g is 0 and the gradients of the examples are not,
    and NaN if all are 0.
    """
    ratio = moments.deviation / moments.norm
    if not unbiased:
        return ratio**2
    if moments.num_examples == 1:
        return jnp.full_like(ratio, jnp.nan)
    count = moments.num_examples
    # Both in units of ||g||^2, whose square may leave the range of float32.
    squared_norm = 1 - ratio**2 / (count - 1)
    positive = squared_norm > 0
    scale = ratio**2 * (count / (count - 1)) / jnp.where(positive, squared_norm, 1)
    return jnp.where(positive, scale, jnp.nan)


def noise_bound(
    moments: GradientMoments, *, minibatch_size: int, safety: Real[ArrayLike, ""] = 1.0
) -> Float[Array, ""]:
    """The noise bound of Baveja, Lewandowski and Schmidt (2025) on the effective step of a layer,
    b_1 = s B ||g||^2 / V1 = s B / B_simple.

    A layer whose effective step is above the bound is said to stop training. Pass the moments of
    one layer, from `layer_moments`. The bound uses the numbers of the given examples; with a single
    minibatch in their place ||g||^2 is too large by V1 / B, and pure noise has the bound s, not 0.
    The definition is that of a public re-implementation, which cites the equations of the paper.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import gradient_moments, noise_bound

    noise_bound(gradient_moments(jnp.array([[2.0, 0.0], [0.0, 2.0]])), minibatch_size=4)  # 4
    ```

    **Arguments:**

    - `minibatch_size`: B, that of training.
    - `safety`: the factor s.

    **Raises:** `ValueError` if `minibatch_size` is not a positive integer or `safety` is not
    positive.
    """
    check_count("minibatch_size", minibatch_size)
    check_above("safety", safety, 0)
    return jnp.asarray(safety * minibatch_size) * (moments.norm / moments.deviation) ** 2
