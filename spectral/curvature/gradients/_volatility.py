"""How much the curvature that a step meets changes within training."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def volatility(series: Float[Array, "*layers window"]) -> Float[Array, "*layers"]:
    """Var(s) / (mean(s) + 1e-8) of the last axis (Baveja, Lewandowski and Schmidt, 2025).

    The series is that of lr |lambda_max| of a layer's block of the Hessian, with the effective
    learning rate lr of the optimiser. The result has the unit of the series: a variance over a
    mean. NaN entries do not count.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import volatility

    volatility(jnp.array([1.0, 3.0]))  # 0.5
    ```
    """
    return jnp.nanvar(series, axis=-1) / (jnp.nanmean(series, axis=-1) + 1e-8)
