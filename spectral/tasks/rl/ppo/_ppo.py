"""Proximal policy optimisation on an environment that changes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count, check_fraction, check_kind
from ...._base._quantity import Quantity
from ...._types import Aux, Chunk, Clock, Learner
from ....models import PolicyAndValue
from ..._base._splits import Split
from ..._base._stream import Metrics
from ..environments._changing_environment import ChangingEnvironment
from ..rollouts._episode_metrics import (
    dead_fraction,
    evaluation_metrics,
    return_quantities,
    rollout_metrics,
)
from ..rollouts._rollout import play, play_anew, Trajectory
from ..rollouts._rollout_stream import AbstractRolloutStream
from ._actor import Actor, policy_outputs
from ._advantages import normalised
from ._ppo_batch import Normalisation, PPOBatch, rollout_batch
from ._ppo_sizes import check_sizes
from ._rollout_state import RolloutState
from ._running_moments import Moments
from ._surrogate import ClippedSurrogate


class PPO(AbstractRolloutStream[RolloutState]):
    """Proximal policy optimisation (Schulman et al., 2017) on an environment that changes.

    A chunk is one rollout of the current policy, cut into `epochs` x `minibatches_per_epoch`
    minibatches. The criterion is `ClippedSurrogate`, so that every algorithm, probe and curvature
    matrix works with it; see there for its Gauss-Newton matrix.

    ```
    limited = tasks.TimeLimit(tasks.PointMass(), 20)
    world = tasks.ChangingEnvironment(limited, tasks.LogUniform(low=0.1, high=5.0), 80)
    stream = tasks.PPO(world, num_tasks=2, steps_per_rollout=40, epochs=2, minibatches_per_epoch=4)
    model = models.ActorCritic(stream.in_size, stream.out_size, width=4, key=jax.random.key(0))
    learner, history = train_continual(model, stream, algorithms.bp(algorithms.adam(1e-3)))
    history["episode_return"]   # [tasks, rollouts]
    ```

    **Tasks and rollouts.** The parameter of the environment changes by a count of environment
    steps, also in the middle of a rollout. A task of the loop is the smallest number of rollouts
    with at least `world.steps_per_task` steps. If a rollout does not divide these steps, the tasks
    of the loop begin later than those of the environment, by at most one rollout more with each
    task. With `change="episode"` a change waits for the end of an episode, and may come a little
    after the task of the loop has begun. The evaluation and the probes at the start of a task play
    in separate environments, with the parameter that belongs to the task of the loop.

    **Recorded for each rollout:** `episode_return` and `episode_length` (means over the episodes
    that ended in it, NaN if none did), `num_episodes` (that ended in it), `reward` (mean per step),
    `parameter` (at the last step, in the first environment), `dead_fraction` (the fraction of units
    that are silent in the whole rollout), and the means over its gradient steps of `loss`,
    `policy_loss`, `value_loss`, `entropy`, `approx_kl` (an estimate of the KL divergence from the
    policy that played) and `clip_fraction` (the fraction of ratios out of range). **For each
    task:** `evaluation_return` and `evaluation_length` of the first episode in separate
    environments, with the most probable actions.

    By default only advantages are normalised, because normalising observations and rewards changes
    how plasticity is lost.
    """

    num_tasks: int = eqx.field(static=True, converter=as_int)
    chunks_per_task: int = eqx.field(static=True, converter=as_int)
    minibatches: int = eqx.field(static=True, converter=as_int)
    world: ChangingEnvironment
    num_environments: int = eqx.field(static=True, converter=as_int)
    steps_per_rollout: int = eqx.field(static=True, converter=as_int)
    epochs: int = eqx.field(static=True, converter=as_int)
    surrogate: ClippedSurrogate
    discount: Float[Array, ""]
    gae_lambda: Float[Array, ""]
    advantages: Normalisation = eqx.field(static=True)
    normalise_observations: bool = eqx.field(static=True)
    scale_rewards: bool = eqx.field(static=True)
    clip_actions: bool = eqx.field(static=True)
    num_evaluation_environments: int = eqx.field(static=True, converter=as_int)
    evaluation_steps: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        world: ChangingEnvironment,
        *,
        num_tasks: int = 10,
        num_environments: int = 1,
        steps_per_rollout: int = 2048,
        epochs: int = 10,
        minibatches_per_epoch: int = 16,
        discount: float | Float[Array, ""] = 0.99,
        gae_lambda: float | Float[Array, ""] = 0.95,
        clip: float | Float[Array, ""] = 0.2,
        value_weight: float | Float[Array, ""] = 1.0,
        clip_value: bool = False,
        entropy_weight: float | Float[Array, ""] = 0.0,
        advantages: Normalisation = "rollout",
        normalise_observations: bool = False,
        scale_rewards: bool = False,
        clip_actions: bool = False,
        num_evaluation_environments: int = 4,
        evaluation_steps: int = 1000,
    ):
        """**Arguments:** the defaults are those of Dohare et al. (2024) for Slippery Ant.

        - `world`: the environment and its changes.
        - `num_environments`: the number of environments that are played in parallel.
        - `steps_per_rollout`: the environment steps in a rollout, summed over all environments.
        - `epochs`, `minibatches_per_epoch`: passes over the rollout, and gradient steps in each.
        - `discount`, `gae_lambda`: gamma, and the lambda of generalised advantage estimation.
        - `clip`, `value_weight`, `clip_value`, `entropy_weight`: see `ClippedSurrogate`.
        - `advantages`: normalise them to zero mean and unit variance (unbiased) over the
            `"rollout"`, over each `"minibatch"`, or `"never"`.
        - `normalise_observations`, `scale_rewards`: normalise observations by their running
            statistics, and rewards by those of their discounted sum, and clip both to +-10. The
            statistics are updated after a rollout and constant within it. The first rollout is not
            normalised.
        - `clip_actions`: clip the actions that the environment receives to +-1. Not for discrete
            actions.
        - `num_evaluation_environments`, `evaluation_steps`: the number of environments of the
            evaluation, and the largest number of steps in each. With 0 environments there is no
            evaluation, which saves much of the time to compile a physics engine.

        **Raises:** `ValueError` for a number below one or out of range, a rollout that the
        environments or the minibatches do not divide, or `clip_actions` with discrete actions.
        """
        check_kind("world", world, ChangingEnvironment, "tasks.SlipperyAnt()")
        check_kind("clip_value", clip_value, bool, "True")
        check_sizes(
            num_tasks=num_tasks,
            num_environments=num_environments,
            steps_per_rollout=steps_per_rollout,
            epochs=epochs,
            minibatches_per_epoch=minibatches_per_epoch,
            num_evaluation_environments=num_evaluation_environments,
            evaluation_steps=evaluation_steps,
            advantages=advantages,
        )
        if clip_actions and world.environment.discrete:
            raise ValueError(
                "`clip_actions` is True, but the actions of this environment are indices of "
                "choices, of which only 0 and 1 would remain: pass `clip_actions=False`."
            )
        check_fraction("discount", discount)
        check_fraction("gae_lambda", gae_lambda)
        self.num_tasks = num_tasks
        self.chunks_per_task = world.rollouts_per_task(steps_per_rollout, num_tasks)
        self.minibatches = epochs * minibatches_per_epoch
        self.world = world
        self.num_environments = num_environments
        self.steps_per_rollout = steps_per_rollout
        self.epochs = epochs
        self.surrogate = ClippedSurrogate(clip, value_weight, entropy_weight, clip_value)
        self.discount = jnp.asarray(discount, dtype=float)
        self.gae_lambda = jnp.asarray(gae_lambda, dtype=float)
        self.advantages = advantages
        self.normalise_observations = normalise_observations
        self.scale_rewards = scale_rewards
        self.clip_actions = clip_actions
        self.num_evaluation_environments = num_evaluation_environments
        self.evaluation_steps = evaluation_steps

    def init(self, *, key: PRNGKeyArray) -> RolloutState:
        values, environments = self.begun(key=key)
        seen = environments.observation.shape[1:]
        return RolloutState(
            environments=environments,
            values=values,
            task=jnp.asarray(0),
            observation_moments=Moments.empty(seen) if self.normalise_observations else None,
            return_moments=Moments.empty(()) if self.scale_rewards else None,
            discounted_returns=jnp.zeros(self.num_environments),
        )

    def begin_task(self, state: RolloutState, clock: Clock, *, key: PRNGKeyArray) -> RolloutState:
        return eqx.tree_at(lambda s: s.task, state, clock.task)

    def fresh_task(self, state: RolloutState, clock: Clock, *, key: PRNGKeyArray) -> RolloutState:
        return state.with_parameter(self.world.schedule.fresh_value(key=key))

    def collect(
        self, state: RolloutState, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[RolloutState, Chunk, Metrics]:
        play_key, order_key = jax.random.split(key)
        actor = self.actor(state, learner)
        num_steps = self.steps_per_rollout // self.num_environments
        environments, trajectory = play(
            self.world,
            state.values,
            state.environments,
            actor,
            num_steps,
            clip=self.clip_actions,
            key=play_key,
        )
        batch, taps = self._rollout_batch(state, trajectory, actor)
        orders = jax.vmap(lambda k: jax.random.permutation(k, self.steps_per_rollout))(
            jax.random.split(order_key, self.epochs)
        )
        chunk = Chunk(jax.tree.map(lambda x: x[orders.reshape(self.minibatches, -1)], batch))
        metrics = rollout_metrics(trajectory)
        metrics |= {"dead_fraction": dead_fraction(learner.model, taps)}
        return state.after(environments, trajectory, discount=self.discount), chunk, metrics

    def batch(self, state: RolloutState, item: PPOBatch) -> PPOBatch:
        if self.advantages != "minibatch":
            return item
        return eqx.tree_at(lambda b: b.advantage, item, normalised(item.advantage))

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: PPOBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[PolicyAndValue, Aux]:
        network = (model, model_state, self.world.environment)
        return policy_outputs(*network, batch.observation, inference=inference, key=key)

    def criterion(
        self, outputs: PolicyAndValue, batch: PPOBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        loss = jnp.mean(self.surrogate.losses(outputs, batch))
        return loss, self.surrogate.metrics(outputs, batch)

    def output_loss(self) -> ClippedSurrogate:
        """Returns the surrogate, which defines its own Hessian in the outputs."""
        return self.surrogate

    def sample(
        self,
        state: RolloutState,
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> PPOBatch:
        """Returns `num_examples` steps of a new rollout of the current policy, for either split.

        The rollout has a separate environment with the parameter of the task.
        """
        check_count("num_examples", num_examples, minimum=1 if self.advantages == "never" else 2)
        actor = self.actor(state, learner)
        values, clip = state.values_of_task(self.world), self.clip_actions
        trajectory = play_anew(self.world, values, actor, 1, num_examples, clip=clip, key=key)
        return self.batch(state, self._rollout_batch(state, trajectory, actor)[0])

    def evaluate(self, state: RolloutState, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        num_environments, num_steps = self.num_evaluation_environments, self.evaluation_steps
        if num_environments == 0:
            return {}
        actor = self.actor(state, learner, greedy=True)
        values, clip = state.values_of_task(self.world), self.clip_actions
        trajectory = play_anew(
            self.world, values, actor, num_environments, num_steps, clip=clip, key=key
        )
        return evaluation_metrics(trajectory)

    def quantities(self) -> dict[str, Quantity]:
        return return_quantities(evaluated=self.num_evaluation_environments > 0)

    def actor(self, state: RolloutState, learner: Learner, *, greedy: bool = False) -> Actor:
        """Returns the current policy of a learner. If `greedy`, it takes the most probable
        actions."""
        environment = self.world.environment
        return Actor(learner, environment, state.observation_moments, greedy=greedy)

    def _rollout_batch(
        self, state: RolloutState, trajectory: Trajectory, actor: Actor
    ) -> tuple[PPOBatch, dict[str, Array]]:
        return rollout_batch(
            trajectory,
            actor,
            state.return_moments,
            self.advantages,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
        )
