"""Transitions of n steps: what a network of action values learns from."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..rollouts._rollout import Trajectory


class PlayedSteps(eqx.Module):
    """Steps of one or more environments, with leaves `[steps, environments, ...]`."""

    observation: Array  # [steps, environments, ...], before the action, as it is kept
    action: Int[Array, "steps environments"]
    reward: Float[Array, "steps environments"]
    terminated: Bool[Array, "steps environments"]
    ended: Bool[Array, "steps environments"]  # terminated or truncated
    following: Array  # [steps, environments, ...], after the action and before a reset

    @classmethod
    def of(cls, trajectory: Trajectory) -> "PlayedSteps":
        """Returns the steps of a rollout."""
        return cls(
            observation=trajectory.observation,
            action=trajectory.action,
            reward=trajectory.step.reward,
            terminated=trajectory.step.terminated,
            ended=trajectory.ended,
            following=trajectory.step.observation,
        )

    @classmethod
    def empty(
        cls, num_steps: int, num_environments: int, observation: jax.ShapeDtypeStruct
    ) -> "PlayedSteps":
        """Returns steps of zeros. `observation` is one observation."""
        shape = (num_steps, num_environments)
        seen = jnp.zeros((*shape, *observation.shape), observation.dtype)
        never = jnp.zeros(shape, bool)
        return cls(seen, jnp.zeros(shape, int), jnp.zeros(shape), never, never, seen)


class Transition(eqx.Module):
    """What follows an action within n steps, with leaves `[transitions, ...]`.

    `discount` is the factor of the value of `following` in the target: gamma^n, or gamma^m if the
    episode was cut off after m steps, or 0 if it terminated.
    """

    observation: Array  # [transitions, ...], as it is kept
    action: Int[Array, " transitions"]
    reward: Float[Array, " transitions"]  # the discounted sum over the steps
    discount: Float[Array, " transitions"]
    following: Array  # [transitions, ...], the observation at the end, as it is kept

    @classmethod
    def empty(cls, count: int, observation: jax.ShapeDtypeStruct) -> "Transition":
        """Returns transitions of zeros. `observation` is one observation."""
        seen = jnp.zeros((count, *observation.shape), observation.dtype)
        return cls(seen, jnp.zeros(count, int), jnp.zeros(count), jnp.zeros(count), seen)

    def take(self, index: Int[Array, "..."]) -> "Transition":
        """Returns the transitions at these indices."""
        return jax.tree.map(lambda x: x[index], self)


def transitions_from(
    steps: PlayedSteps, steps_per_return: int, *, discount: float | Float[Array, ""]
) -> Transition:
    """Returns the transitions that begin with each step but the last `steps_per_return - 1`, in
    the order of the steps and, within a step, of the environments.

    A transition has n = `steps_per_return` steps, or fewer if its episode ends before. It never
    has rewards of the next episode. The value of its last observation estimates what follows after
    n steps and after a truncated step. After a terminated step nothing follows. (Sutton and Barto,
    2018, equation 7.1.)
    """
    count = steps.reward.shape[0] - steps_per_return + 1
    at: Any = lambda x, k: x[k : k + count]
    last = steps_per_return - 1
    factor = lambda k: discount * (1 - at(steps.terminated, k).astype(steps.reward.dtype))
    reward, remaining, following = at(steps.reward, last), factor(last), at(steps.following, last)
    for k in reversed(range(last)):
        ended = at(steps.ended, k)
        reward = at(steps.reward, k) + jnp.where(ended, 0, discount * reward)
        remaining = jnp.where(ended, factor(k), discount * remaining)
        over = ended.reshape(*ended.shape, *[1] * (following.ndim - ended.ndim))
        following = jnp.where(over, at(steps.following, k), following)
    found = at(steps.observation, 0), at(steps.action, 0), reward, remaining, following
    return Transition(*(x.reshape(-1, *x.shape[2:]) for x in found))
