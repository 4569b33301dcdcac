"""The loss of proximal policy optimisation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above
from ....curvature import AbstractLoss
from ....models import PolicyAndValue
from ._ppo_batch import PPOBatch


class ClippedSurrogate(AbstractLoss):
    """The clipped surrogate of PPO, with the squared error of the value and the entropy:

    -min(r A, clip(r, 1 - clip, 1 + clip) A) + value_weight (V - target)^2 - entropy_weight H.

    r is the probability of the action divided by its probability when it was taken, A is its
    advantage, and H is the entropy of the policy (Schulman et al., 2017). With `clip_value` the
    squared error of the value is the larger of two: that of V, and that of V clipped to within
    `clip` of its value when the action was taken.

    The loss is not convex in the outputs, so that its Hessian in them has no root. Gauss-Newton
    matrices use instead the Fisher information of the policy plus the Gauss-Newton part of the
    value, 2 value_weight, per example. This is the Hessian of
    KL(policy now || policy) + value_weight (V - target)^2. It does not depend on the advantages.
    Sampled gradients draw actions from the policy and values from a normal distribution.

    **Raises:** `ValueError` for a `clip` that is not positive, or for a negative weight.
    """

    clip: Float[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, float))
    value_weight: Float[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, float))
    entropy_weight: Float[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, float))
    clip_value: bool = eqx.field(static=True)

    def __check_init__(self):
        check_above("clip", self.clip, 0)
        check_above("value_weight", self.value_weight, 0, strict=False)
        check_above("entropy_weight", self.entropy_weight, 0, strict=False)

    def losses(self, outputs: PolicyAndValue, targets: PPOBatch) -> Float[Array, " examples"]:
        policy_loss, value_loss = self.parts(outputs, targets)
        entropy = outputs.policy.entropy()
        return policy_loss + self.value_weight * value_loss - self.entropy_weight * entropy

    def parts(
        self, outputs: PolicyAndValue, targets: PPOBatch
    ) -> tuple[Float[Array, " examples"], Float[Array, " examples"]]:
        """Returns the loss of the policy and the squared error of the value, unweighted."""
        ratio = self.ratio(outputs, targets)
        clipped = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
        gain = jnp.minimum(ratio * targets.advantage, clipped * targets.advantage)
        squares = (outputs.value - targets.target) ** 2
        if self.clip_value:
            near = targets.value + jnp.clip(outputs.value - targets.value, -self.clip, self.clip)
            squares = jnp.maximum(squares, (near - targets.target) ** 2)
        return -gain, squares

    def ratio(self, outputs: PolicyAndValue, targets: PPOBatch) -> Float[Array, " examples"]:
        """Returns the probability of each action divided by its probability when it was taken."""
        return jnp.exp(outputs.policy.log_probability(targets.action) - targets.log_probability)

    def metrics(self, outputs: PolicyAndValue, targets: PPOBatch) -> dict[str, Float[Array, ""]]:
        """Returns means over the batch. `approx_kl` is the estimate mean(r - 1 - log r)."""
        policy_loss, value_loss = self.parts(outputs, targets)
        ratio = self.ratio(outputs, targets)
        each = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": outputs.policy.entropy(),
            # Unbiased and never negative.
            "approx_kl": ratio - 1 - jnp.log(ratio),
            "clip_fraction": (jnp.abs(ratio - 1) > self.clip).astype(ratio.dtype),
        }
        return {name: jnp.mean(x) for name, x in each.items()}

    def hessian_product(
        self, outputs: PolicyAndValue, targets: PPOBatch, tangent: PolicyAndValue
    ) -> PolicyAndValue:
        policy = outputs.policy.fisher_product(tangent.policy)
        return PolicyAndValue(policy, 2 * self.value_weight * tangent.value)

    def hessian_root(self, outputs: PolicyAndValue, targets: PPOBatch) -> PolicyAndValue:
        policy = outputs.policy.fisher_root()
        value = jnp.broadcast_to(jnp.sqrt(2 * self.value_weight), (1, *outputs.value.shape))
        # Add a column for the value.
        policy = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])]), policy)
        columns = jax.tree.leaves(policy)[0].shape[0]
        zeros = jnp.zeros((columns - 1, *outputs.value.shape), value.dtype)
        return PolicyAndValue(policy, jnp.concatenate([zeros, value]))

    def sampled_gradient(
        self, outputs: PolicyAndValue, targets: PPOBatch, *, key: PRNGKeyArray
    ) -> Any:
        policy_key, value_key = jax.random.split(key)
        noise = jax.random.normal(value_key, outputs.value.shape, outputs.value.dtype)
        return PolicyAndValue(
            outputs.policy.sampled_score(key=policy_key), jnp.sqrt(2 * self.value_weight) * noise
        )
