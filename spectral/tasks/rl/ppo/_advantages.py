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
    """Returns the advantages of the actions of a rollout (Schulman et al., 2016, equation 16).

    With delta_t = r_t + discount V(s'_t) - V(s_t), the advantage is the sum over the rest of the
    episode of (discount gae_lambda)^k delta_{t+k}. After a terminated step V(s') counts as 0. A
    truncated step, and the last step of the rollout, uses the value of the observation that
    followed it. This is not the first observation of the next episode.

    ```python
    rewards, values = jnp.ones(3), jnp.zeros(3)
    ends = jnp.array([False, False, True]), jnp.zeros(3, bool)
    generalised_advantages(rewards, values, values, *ends, discount=1.0, gae_lambda=1.0)
    ```

    **Arguments:**

    - `rewards`, `values`: r_t and V(s_t).
    - `next_values`: V(s'_t), where s'_t is the observation after action t.
    - `terminated`, `truncated`: whether and how the episode ended with action t.
    - `discount`, `gae_lambda`: gamma and lambda.
    """
    bootstrap = jnp.where(terminated, 0, next_values)
    deltas = rewards + discount * bootstrap - values
    continues = 1 - (terminated | truncated).astype(deltas.dtype)

    def back(later, now):
        delta, continues = now
        advantage = delta + discount * gae_lambda * continues * later
        return advantage, advantage

    return jax.lax.scan(back, jnp.zeros_like(deltas[0]), (deltas, continues), reverse=True)[1]


def normalised(advantages: Float[Array, " examples"]) -> Float[Array, " examples"]:
    """Returns advantages with mean 0 and variance 1 (unbiased)."""
    centred = advantages - jnp.mean(advantages)
    return centred / (jnp.std(advantages, ddof=1) + 1e-8)
