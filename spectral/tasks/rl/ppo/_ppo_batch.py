"""The examples that PPO learns from."""

from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float

from ..rollouts._rollout import Trajectory
from ._actor import Actor
from ._advantages import generalised_advantages, normalised
from ._running_moments import Moments


Normalisation = Literal["minibatch", "rollout", "never"]  # of advantages


class PPOBatch(eqx.Module):
    """Steps of a rollout as examples for PPO."""

    observation: Float[Array, "examples ..."]  # as the network sees it
    action: Array  # [examples, ...]
    log_probability: Float[Array, " examples"]  # of the action, when it was taken
    advantage: Float[Array, " examples"]
    target: Float[Array, " examples"]  # of the value
    value: Float[Array, " examples"]  # when the action was taken


def rollout_batch(
    trajectory: Trajectory,
    actor: Actor,
    return_moments: Moments | None,
    advantages: Normalisation,
    *,
    discount: Float[Array, ""],
    gae_lambda: Float[Array, ""],
) -> tuple[PPOBatch, dict[str, Array]]:
    """Returns the steps of a rollout as `[steps * environments, ...]` examples, and the activations
    of the network on them."""
    rows = lambda x: x.reshape(-1, *x.shape[2:])
    observations = actor.standardised(rows(trajectory.observation).astype(float))
    following = actor.standardised(rows(trajectory.step.observation).astype(float))
    outputs, aux = actor.outputs(observations)
    rewards = trajectory.step.reward
    if return_moments is not None:
        rewards = return_moments.scale(rewards.reshape(-1)).reshape(rewards.shape)
    estimates = generalised_advantages(
        rewards,
        outputs.value.reshape(rewards.shape),
        actor.outputs(following)[0].value.reshape(rewards.shape),
        trajectory.step.terminated,
        trajectory.step.truncated,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    estimates, action = rows(estimates), rows(trajectory.action)
    batch = PPOBatch(
        observation=observations,
        action=action,
        log_probability=outputs.policy.log_probability(action),
        advantage=normalised(estimates) if advantages == "rollout" else estimates,
        target=estimates + outputs.value,
        value=outputs.value,
    )
    return batch, aux.taps
