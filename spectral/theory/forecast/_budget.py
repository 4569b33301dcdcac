"""The epsilon that follows from a budget of gradient steps."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Real

from ..._arguments import check_above, check_count
from .._base._open_interval import check_strictly_between_0_and_1


_MOST_STEPS = 2**31 - 1  # steps are counted in int32


def budget_epsilon(
    lr: Real[Array, ""] | float,
    steps: int,
    *,
    shrinkage: Real[Array, ""] | float = 0.5,
    weight_decay: Real[Array, ""] | float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the epsilon that follows from a budget: the two eigenvalues of the Gram matrix
    between which `steps` steps of gradient descent shrink a residual by the factor `shrinkage` or
    more.

    |1 - lr lambda|^steps <= shrinkage if and only if lambda lies from (1 - shrinkage^(1/steps)) /
    lr to (1 + shrinkage^(1/steps)) / lr. With the penalty (w/2) ||theta||^2 the factor is
    |1 - lr (lambda + w)|, so both are smaller by w. A residual then tends to w c / (lambda + w)
    and not to 0 (see `trainability_forecast`), and it is the distance from this limit that
    shrinks. If the lower eigenvalue is not positive, the budget is long enough for the penalty to
    act along directions without curvature.

    ```python
    budget_epsilon(0.03, 1500)[0]  # 0.0154
    ```

    **Raises:** `ValueError` if `lr` is not positive, `steps` is below 1 or above 2^31 - 1,
    `shrinkage` is outside (0, 1), or `weight_decay` is negative.
    """
    check_budget(lr, steps, shrinkage, weight_decay)
    # 1 - rho^(1/K) loses all digits for large K.
    logarithm = jnp.log(jnp.asarray(shrinkage, dtype=float)) / steps
    low, high = -jnp.expm1(logarithm) / lr, (1 + jnp.exp(logarithm)) / lr
    return low - weight_decay, high - weight_decay


def check_budget(
    lr: Real[Array, ""] | float,
    steps: int,
    shrinkage: Real[Array, ""] | float,
    weight_decay: Real[Array, ""] | float,
) -> None:
    check_above("lr", lr, 0)
    check_count("steps", steps)
    if steps > _MOST_STEPS:
        raise ValueError(
            f"`steps` is {steps}, but must be at most {_MOST_STEPS}: take fewer steps with a "
            "larger `lr`."
        )
    check_strictly_between_0_and_1("shrinkage", shrinkage)
    check_above("weight_decay", weight_decay, 0, strict=False)
