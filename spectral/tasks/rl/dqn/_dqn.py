"""Deep Q-networks on an environment that changes."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count, check_fraction, check_kind
from ...._base._quantity import Quantity
from ...._carry import branch
from ...._types import Aux, Chunk, Clock, Learner
from ..._base._splits import by_split, Split
from ..._base._stream import Metrics
from ..environments._changing_environment import ChangingEnvironment
from ..environments._environment import observation_of
from ..rollouts._episode_metrics import evaluation_metrics, return_quantities, rollout_metrics
from ..rollouts._rollout import play
from ..rollouts._rollout_stream import AbstractRolloutStream
from ._dqn_batch import DQNBatch, ReplayItem, with_targets
from ._dqn_sizes import check_sizes, gradient_steps
from ._exploration import LinearEpsilon
from ._playing import greedy_episodes, new_transitions
from ._replay import Replay
from ._replay_state import ReplayState
from ._target_update import AbstractTargetUpdate, PeriodicTarget
from ._transition import PlayedSteps, Transition
from ._value_error import AbstractValueError, SquaredValueError, value_quantities
from ._value_network import action_values, ActionValues, EpsilonGreedy, ValueNetwork


class DQN(AbstractRolloutStream[ReplayState]):
    """Deep Q-networks (Mnih et al., 2015) on an environment that changes: the replay and the target
    network are in the state of the stream.

    A chunk is a rollout of `steps_per_rollout` environment steps and the
    `steps_per_rollout` x `replay_ratio` gradient steps that they pay for. The criterion is `error`
    of the value of the action that was taken against a constant target, so that every algorithm,
    probe and curvature matrix works with it; see `AbstractValueError`.

    ```
    world = tasks.ChangingEnvironment(tasks.Gymnax("CartPole-v1"), tasks.Cycle((1.0,)), 200_000)
    target = tasks.PeriodicTarget(period=125)
    stream = tasks.DQN(world, num_tasks=1, minibatch_size=64, target_update=target)
    model = models.MLP(stream.in_size, stream.out_size, width=64, depth=2, key=jax.random.key(0))
    learner, history = train_continual(model, stream, algorithms.bp(algorithms.adam(5e-4)))
    ```

    **When things change.** When a chunk begins, the target network follows the learner, then
    the environments are played, then the minibatches are drawn. The target network, and in double
    DQN the network that chooses the action, are constant in a chunk. A chunk of one gradient step
    is the published algorithm. In a chunk of m, the choosing network is up to m - 1 steps old.
    Tasks follow rollouts as in `PPO`.

    **Before learning starts.** While the replay holds fewer than `learning_starts` transitions, the
    gradient steps of a chunk are skipped: weights, optimiser and transforms stay as they are, and
    the metrics of the criterion are NaN. The clock counts on, so that periods and keys are those of
    a run without a pause. Exploration follows its schedule. If a change of task thins the replay to
    fewer transitions, learning pauses again.

    **Recorded for each chunk:** `episode_return`, `episode_length`, `num_episodes`, `reward` and
    `parameter` as in `PPO`, `epsilon`, `num_replayed` (transitions in the replay), and the means of
    `loss`, `value` (of the best action) and `target` over its gradient steps. **For each task:**
    `evaluation_return` and `evaluation_length` as in `PPO`, without exploration.
    """

    num_tasks: int = eqx.field(static=True, converter=as_int)
    chunks_per_task: int = eqx.field(static=True, converter=as_int)
    minibatches: int = eqx.field(static=True, converter=as_int)
    world: ChangingEnvironment
    capacity: int = eqx.field(static=True, converter=as_int)
    minibatch_size: int = eqx.field(static=True, converter=as_int)
    learning_starts: int = eqx.field(static=True, converter=as_int)
    steps_per_return: int = eqx.field(static=True, converter=as_int)
    num_environments: int = eqx.field(static=True, converter=as_int)
    steps_per_rollout: int = eqx.field(static=True, converter=as_int)
    discount: Float[Array, ""]
    kept_fraction: Float[Array, ""]
    exploration: LinearEpsilon
    error: AbstractValueError
    target_update: AbstractTargetUpdate
    double: bool = eqx.field(static=True)
    num_evaluation_environments: int = eqx.field(static=True, converter=as_int)
    evaluation_steps: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        world: ChangingEnvironment,
        *,
        num_tasks: int = 10,
        capacity: int = 100_000,
        minibatch_size: int = 32,
        learning_starts: int = 1000,
        replay_ratio: float = 0.25,
        steps_per_rollout: int = 4,
        num_environments: int = 1,
        steps_per_return: int = 1,
        discount: float | Float[Array, ""] = 0.99,
        double: bool = False,
        error: AbstractValueError | None = None,
        target_update: AbstractTargetUpdate | None = None,
        exploration: LinearEpsilon | None = None,
        kept_fraction: float | Float[Array, ""] = 1.0,
        num_evaluation_environments: int = 4,
        evaluation_steps: int = 1000,
    ):
        """**Arguments:**

        - `world`: the environment, with discrete actions, and its changes.
        - `capacity`: how many transitions the replay holds, each with two observations. Bytes and
            Booleans, as `reset` of the world and also its `step` give them, stay what they are
            until a minibatch is made.
        - `minibatch_size`: transitions in a minibatch, drawn uniformly with replacement.
        - `learning_starts`: how many transitions the replay must hold before it is learnt from.
        - `replay_ratio`: gradient steps for each environment step.
        - `steps_per_rollout`, `num_environments`: environment steps of a chunk, summed over all
            environments, and how many of these are played in parallel.
        - `steps_per_return`: n of the n-step return. It is not corrected for the policy.
        - `discount`: gamma.
        - `double`: the learner chooses the action whose value the target network gives.
        - `error`, `target_update`, `exploration`: by default `SquaredValueError()`,
            `PeriodicTarget()` and `LinearEpsilon()`.
        - `kept_fraction`: the fraction of the replay that stays at a change of task, drawn at
            random: 1 keeps all, and 0 empties it.
        - `num_evaluation_environments`, `evaluation_steps`: see `PPO`.

        **Raises:** `ValueError` for a number out of range, continuous actions, a capacity below the
        size of a minibatch, a return, a rollout or the learning start, a replay larger than the
        free memory, a learning start beyond the task, gradient steps that are not an integer, or a
        target period that they do not divide; `TypeError` for an object of another kind.
        """
        error = SquaredValueError() if error is None else error
        target_update = PeriodicTarget() if target_update is None else target_update
        exploration = LinearEpsilon() if exploration is None else exploration
        check_kind("world", world, ChangingEnvironment, "tasks.SlipperyAnt()")
        check_kind("error", error, AbstractValueError, "tasks.HuberValueError()")
        check_kind("target_update", target_update, AbstractTargetUpdate, "tasks.PolyakTarget()")
        check_kind("exploration", exploration, LinearEpsilon, "tasks.LinearEpsilon()")
        check_kind("double", double, bool, "True")
        check_sizes(
            world,
            num_tasks=num_tasks,
            capacity=capacity,
            minibatch_size=minibatch_size,
            steps_per_return=steps_per_return,
            learning_starts=learning_starts,
            num_environments=num_environments,
            steps_per_rollout=steps_per_rollout,
            num_evaluation_environments=num_evaluation_environments,
            evaluation_steps=evaluation_steps,
        )
        check_fraction("discount", discount)
        check_fraction("kept_fraction", kept_fraction)
        self.num_tasks = num_tasks
        self.chunks_per_task = world.rollouts_per_task(steps_per_rollout, num_tasks)
        self.minibatches = gradient_steps(steps_per_rollout, replay_ratio)
        target_update.check(self.minibatches)
        self.world = world
        self.capacity = capacity
        self.minibatch_size = minibatch_size
        self.learning_starts = learning_starts
        self.steps_per_return = steps_per_return
        self.num_environments = num_environments
        self.steps_per_rollout = steps_per_rollout
        self.discount = jnp.asarray(discount, dtype=float)
        self.kept_fraction = jnp.asarray(kept_fraction, dtype=float)
        self.exploration = exploration
        self.error = error
        self.target_update = target_update
        self.double = double
        self.num_evaluation_environments = num_evaluation_environments
        self.evaluation_steps = evaluation_steps

    def init(self, *, key: PRNGKeyArray) -> ReplayState:
        """Returns the state before the first task; `begin_run` adds the copies of the network."""
        values, environments = self.begun(key=key)
        return ReplayState(
            environments=environments,
            values=values,
            task=jnp.asarray(0),
            replay=Replay.empty(
                self.capacity,
                observation_of(self.world.environment),
                num_environments=self.num_environments,
                steps_per_return=self.steps_per_return,
            ),
            epsilon=self.exploration.first,
            target=None,
            chooser=None,
        )

    def begin_run(self, state: ReplayState, learner: Learner) -> ReplayState:
        chooser = ValueNetwork.of(learner) if self.double else None
        target = self.target_update.begun(ValueNetwork.of(learner))
        return replace(state, target=target, chooser=chooser)

    def begin_task(self, state: ReplayState, clock: Clock, *, key: PRNGKeyArray) -> ReplayState:
        thin = lambda replay: replay.thinned(self.kept_fraction, key=key)
        replay = branch(clock.task > 0, thin, state.replay)
        return replace(state, task=clock.task, replay=replay, epsilon=self._epsilon(clock))

    def fresh_task(self, state: ReplayState, clock: Clock, *, key: PRNGKeyArray) -> ReplayState:
        thin_key, value_key = jax.random.split(key)
        values = jnp.full_like(state.values, self.world.schedule.fresh_value(key=value_key))
        return replace(self.begin_task(state, clock, key=thin_key), values=values)

    def collect(
        self, state: ReplayState, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[ReplayState, Chunk, Metrics]:
        play_key, draw_key = jax.random.split(key)
        network, epsilon = ValueNetwork.of(learner), self._epsilon(clock)
        target = self.target_update(state.target_network(), network, clock.step, self.minibatches)
        environments, trajectory = play(
            self.world,
            state.values,
            state.environments,
            EpsilonGreedy(network, epsilon, self.out_size),
            self.steps_per_rollout // self.num_environments,
            key=play_key,
        )
        replay = state.replay.including(PlayedSteps.of(trajectory), discount=self.discount)
        index = replay.draw(self.minibatches, self.minibatch_size, key=draw_key)
        learns = replay.size >= self.learning_starts
        items = ReplayItem.of(replay.transitions, index, learns)
        chunk = Chunk(items, in_use=jnp.where(learns, self.minibatches, 0))
        metrics = rollout_metrics(trajectory) | {"epsilon": epsilon, "num_replayed": replay.size}
        chooser = network if self.double else None
        changed: Any = {"environments": environments, "replay": replay, "epsilon": epsilon}
        state = replace(state, **changed, target=target, chooser=chooser)
        return state, chunk, metrics

    def batch(self, state: ReplayState, item: ReplayItem) -> DQNBatch:
        transitions = item.of_replay(state.replay.transitions)
        return with_targets(transitions, state.target_network(), state.chooser, self.out_size)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: DQNBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[ActionValues, Aux]:
        network = (model, model_state, batch.observation, self.out_size)
        return action_values(*network, inference=inference, key=key)

    def criterion(self, outputs: ActionValues, batch: DQNBatch) -> tuple[Float[Array, ""], Metrics]:
        return jnp.mean(self.error.losses(outputs, batch)), self.error.metrics(outputs, batch)

    def output_loss(self) -> AbstractValueError:
        """Returns the error, which defines its own Hessian in the outputs."""
        return self.error

    def sample(
        self,
        state: ReplayState,
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> DQNBatch:
        """Returns `num_examples` transitions with targets of the present networks: for `"train"`
        from the replay, or new ones while it is empty, for `"held_out"` new ones.

        New transitions are played in a separate environment with the parameter of the task, with
        the present epsilon.
        """
        check_count("num_examples", num_examples)

        def new() -> Transition:
            options: Any = {"steps_per_return": self.steps_per_return, "discount": self.discount}
            return new_transitions(self.world, state, learner, num_examples, **options, key=key)

        def replayed() -> Transition:
            return state.replay.transitions.take(state.replay.draw(num_examples, key=key))

        train = lambda: jax.lax.cond(state.replay.size > 0, replayed, new)
        transitions = by_split(split, train=train, held_out=new)()
        chooser = ValueNetwork.of(learner) if self.double else None
        return with_targets(transitions, state.target_network(), chooser, self.out_size)

    def evaluate(self, state: ReplayState, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        sizes = self.num_evaluation_environments, self.evaluation_steps
        if self.num_evaluation_environments == 0:
            return {}
        return evaluation_metrics(greedy_episodes(self.world, state, learner, *sizes, key=key))

    def quantities(self) -> dict[str, Quantity]:
        returns = return_quantities(evaluated=self.num_evaluation_environments > 0)
        return returns | value_quantities()

    def _epsilon(self, clock: Clock) -> Float[Array, ""]:
        return self.exploration(clock, self.chunks_per_task, self.steps_per_rollout)
