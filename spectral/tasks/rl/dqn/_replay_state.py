"""The state of DQN between chunks."""

import equinox as eqx
from jaxtyping import Array, Float, Int

from ..environments._changing_environment import ChangingEnvironment
from ..rollouts._rollout import EnvironmentState, values_of_task
from ._replay import Replay
from ._value_network import ValueNetwork


class ReplayState(eqx.Module):
    """The environments between two chunks, the replay, and the networks that make targets."""

    environments: EnvironmentState
    values: Float[Array, " values"]  # of the parameter, one for each task and one more
    task: Int[Array, ""]
    replay: Replay
    epsilon: Float[Array, ""]  # of the present chunk
    target: ValueNetwork | None  # None until the run begins
    chooser: ValueNetwork | None  # the learner when the chunk began, for double DQN

    def values_of_task(self, world: ChangingEnvironment) -> Float[Array, " values"]:
        """Returns `values` with the parameter of the current task for every task."""
        return values_of_task(world, self.values, self.environments, self.task)

    def target_network(self) -> ValueNetwork:
        """Returns the target network. **Raises:** `ValueError` if there is none yet."""
        if self.target is None:
            raise ValueError(
                "`state.target` is None, but must be a network: complete the result of "
                "`stream.init` with `stream.begin_run(state, learner)`, as `train_continual` does."
            )
        return self.target
