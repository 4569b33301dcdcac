"""The loss of proximal policy optimisation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ....curvature import AbstractLoss
from ....models import PolicyAndValue


class PPOBatch(eqx.Module):
    """Steps of a rollout, as PPO learns from them."""

    observation: Float[Array, "examples observation"]  # as the network sees it
    action: Array  # [examples, ...]
    log_probability: Float[Array, " examples"]  # of the action, when it was taken
    advantage: Float[Array, " examples"]
    target: Float[Array, " examples"]  # of the value
    value: Float[Array, " examples"]  # when the action was taken


class ClippedSurrogate(AbstractLoss):
    """-min(r A, clip(r, 1 - clip, 1 + clip) A) + value_weight (V - target)^2 - entropy_weight H.

    r is the ratio of the probability of the action to that when it was taken, A its advantage, H
    the entropy of the policy (Schulman et al., 2017). With `clip_value` the squared error of the
    value is the larger one of V and of V kept within `clip` of what it was.

    It is not convex in the outputs, so that its Hessian in them has no root. What stands for it in
    Gauss-Newton matrices is the Fisher information of the policy plus the Gauss-Newton part of the
    value, 2 value_weight, each with the weight of one example: the Hessian of
    KL(policy now || policy) + value_weight (V - target)^2. It does not depend on the advantages.
    As a likelihood, actions are drawn from the policy, and values from a normal distribution.
    """

    clip: Float[Array, ""]
    value_weight: Float[Array, ""]
    entropy_weight: Float[Array, ""]
    clip_value: bool = eqx.field(static=True)

    def losses(self, outputs: PolicyAndValue, targets: PPOBatch) -> Float[Array, " examples"]:
        policy_loss, value_loss = self.parts(outputs, targets)
        entropy = outputs.policy.entropy()
        return policy_loss + self.value_weight * value_loss - self.entropy_weight * entropy

    def parts(
        self, outputs: PolicyAndValue, targets: PPOBatch
    ) -> tuple[Float[Array, " examples"], Float[Array, " examples"]]:
        """The loss of the policy and the squared error of the value, without weights."""
        ratio = self.ratio(outputs, targets)
        clipped = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
        gain = jnp.minimum(ratio * targets.advantage, clipped * targets.advantage)
        squares = (outputs.value - targets.target) ** 2
        if self.clip_value:
            near = targets.value + jnp.clip(outputs.value - targets.value, -self.clip, self.clip)
            squares = jnp.maximum(squares, (near - targets.target) ** 2)
        return -gain, squares

    def ratio(self, outputs: PolicyAndValue, targets: PPOBatch) -> Float[Array, " examples"]:
        """The probability of each action, divided by that when it was taken."""
        return jnp.exp(outputs.policy.log_probability(targets.action) - targets.log_probability)

    def hessian_product(
        self, outputs: PolicyAndValue, targets: PPOBatch, tangent: PolicyAndValue
    ) -> PolicyAndValue:
        policy = outputs.policy.fisher_product(tangent.policy)
        return PolicyAndValue(policy, 2 * self.value_weight * tangent.value)

    def hessian_root(self, outputs: PolicyAndValue, targets: PPOBatch) -> PolicyAndValue:
        policy = outputs.policy.fisher_root()
        value = jnp.broadcast_to(jnp.sqrt(2 * self.value_weight), (1, *outputs.value.shape))
        # One column more: that of the value.
        policy = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])]), policy)
        columns = jax.tree.leaves(policy)[0].shape[0]
        zeros = jnp.zeros((columns - 1, *outputs.value.shape), value.dtype)
        return PolicyAndValue(policy, jnp.concatenate([zeros, value]))

    def sampled_gradient(self, outputs: PolicyAndValue, *, key: PRNGKeyArray) -> Any:
        policy_key, value_key = jax.random.split(key)
        noise = jax.random.normal(value_key, outputs.value.shape, outputs.value.dtype)
        return PolicyAndValue(
            outputs.policy.sampled_score(key=policy_key), jnp.sqrt(2 * self.value_weight) * noise
        )
