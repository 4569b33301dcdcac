"""What evolves while PPO practises: the environments, and what was seen of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..environments._changing_environment import ChangingEnvironment
from ._rollout import EnvironmentState, Trajectory
from ._running_moments import Moments


class RolloutState(eqx.Module):
    """What evolves: the environments, and what was seen of them."""

    players: EnvironmentState
    values: Float[Array, " values"]  # of the parameter, task by task, and one more
    task: Int[Array, ""]
    seen: Moments | None  # observations
    returns: Moments | None  # discounted sums of rewards
    running: Float[Array, " environments"]  # those sums now

    def present(self, world: ChangingEnvironment) -> Float[Array, " values"]:
        """The parameter of the present task, in the place of every task."""
        if world.change == "drift":
            phase = jax.tree.map(lambda x: x[0], self.players.phase)
            parameter = world.parameter(self.values, phase)
        else:
            parameter = self.values[self.task]
        return jnp.full_like(self.values, parameter)

    def shown(self, observations: Array) -> Array:
        """Observations as the network sees them."""
        return observations if self.seen is None else self.seen.standardise(observations)

    def after(
        self, players: EnvironmentState, rollout: Trajectory, *, discount: Float[Array, ""]
    ) -> "RolloutState":
        """The state after a rollout, with what it showed among the statistics."""
        seen, returns, running = self.seen, self.returns, self.running
        if seen is not None:
            # Those that the policy acted on, from the first of an episode to the last but one.
            observations = rollout.observation
            seen = seen.including(observations.reshape(-1, observations.shape[-1]))
        if returns is not None:

            def add(running, now):
                reward, ended = now
                total = discount * running + reward
                return jnp.where(ended, 0, total), total

            running, totals = jax.lax.scan(add, running, (rollout.step.reward, rollout.ended))
            returns = returns.including(totals.reshape(-1))
        return RolloutState(players, self.values, self.task, seen, returns, running)
