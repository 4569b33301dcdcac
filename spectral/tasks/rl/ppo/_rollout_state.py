"""The state of PPO between rollouts."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..environments._changing_environment import ChangingEnvironment
from ..rollouts._rollout import EnvironmentState, Trajectory, values_of_task
from ._running_moments import Moments


class RolloutState(eqx.Module):
    """The environments between two rollouts, and the statistics of earlier rollouts."""

    environments: EnvironmentState
    values: Float[Array, " values"]  # of the parameter, one for each task and one more
    task: Int[Array, ""]
    observation_moments: Moments | None
    return_moments: Moments | None  # of discounted sums of rewards
    discounted_returns: Float[Array, " environments"]  # these sums in the current episodes

    def values_of_task(self, world: ChangingEnvironment) -> Float[Array, " values"]:
        """Returns `values` with the parameter of the current task for every task."""
        return values_of_task(world, self.values, self.environments, self.task)

    def with_parameter(self, value: Float[Array, ""]) -> "RolloutState":
        """Returns the state with this value of the parameter for every task."""
        return eqx.tree_at(lambda s: s.values, self, jnp.full_like(self.values, value))

    def after(
        self,
        environments: EnvironmentState,
        trajectory: Trajectory,
        *,
        discount: Float[Array, ""],
    ) -> "RolloutState":
        """Returns the state after a rollout, with its statistics included."""
        observed, returned = self.observation_moments, self.return_moments
        discounted_returns = self.discounted_returns
        if observed is not None:
            # The observations before each action, which exclude the last one of an episode.
            observations = trajectory.observation.astype(float)
            observed = observed.including(observations.reshape(-1, *observations.shape[2:]))
        if returned is not None:

            def add(discounted_returns, now):
                reward, ended = now
                total = discount * discounted_returns + reward
                return jnp.where(ended, 0, total), total

            steps = trajectory.step.reward, trajectory.ended
            discounted_returns, totals = jax.lax.scan(add, discounted_returns, steps)
            returned = returned.including(totals.reshape(-1))
        return RolloutState(
            environments, self.values, self.task, observed, returned, discounted_returns
        )
