"""Generalised advantage estimation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


Steps = Float[Array, "steps *environments"]  # noqa: F821 (ruff reads a product of two names)
Ends = Bool[Array, "steps *environments"]  # noqa: F821


def generalised_advantages(
    rewards: Steps,
    values: Steps,
    next_values: Steps,
    terminated: Ends,
    truncated: Ends,
    *,
    discount: float | Float[Array, ""],
    gae_lambda: float | Float[Array, ""],
) -> Steps:
    """Advantages of the actions of a rollout (Schulman et al., 2016, equation 16).

    With delta_t = r_t + discount V(s'_t) - V(s_t), the advantage is the sum over the rest of the
    episode of (discount gae_lambda)^k delta_{t+k}. After a terminated step V(s') counts as 0. A
    truncated step, and the last of the rollout, has the value of the observation that followed it,
    which is not the first one of the next episode.

    ```python
    rewards, values = jnp.ones(3), jnp.zeros(3)
    ends = jnp.array([False, False, True]), jnp.zeros(3, bool)
    generalised_advantages(rewards, values, values, *ends, discount=1.0, gae_lambda=1.0)
    ```

    **Arguments:**

    - `rewards`, `values`: r_t and V(s_t).
    - `next_values`: V(s'_t), with s'_t the observation that action t led to.
    - `terminated`, `truncated`: whether the episode ended with action t, and how.
    - `discount`, `gae_lambda`: gamma and lambda.
    """
    bootstrap = jnp.where(terminated, 0, next_values)
    deltas = rewards + discount * bootstrap - values
    goes_on = 1 - (terminated | truncated).astype(deltas.dtype)

    def back(later, now):
        delta, goes_on = now
        advantage = delta + discount * gae_lambda * goes_on * later
        return advantage, advantage

    return jax.lax.scan(back, jnp.zeros_like(deltas[0]), (deltas, goes_on), reverse=True)[1]


def normalised(advantages: Float[Array, " examples"]) -> Float[Array, " examples"]:
    """With mean 0 and variance 1 (unbiased)."""
    centred = advantages - jnp.mean(advantages)
    return centred / (jnp.std(advantages, ddof=1) + 1e-8)
