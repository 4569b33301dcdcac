"""Proximal policy optimisation on an environment that changes."""

from typing import Any, get_args, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above, check_count, check_fraction, check_kind, unknown_name
from ...._types import Aux, Chunk, Clock, Learner
from ....models import PolicyAndValue
from ..._base._stream import AbstractTaskStream, Metrics, Split
from ..environments._changing_environment import ChangingEnvironment
from ._advantages import generalised_advantages, normalised
from ._policy_outputs import policy_outputs
from ._rollout import begin, play, Trajectory
from ._rollout_metrics import dead_fraction, episodes
from ._rollout_state import RolloutState
from ._running_moments import Moments
from ._surrogate import ClippedSurrogate, PPOBatch


Normalised = Literal["minibatch", "rollout", "never"]


class PPO(AbstractTaskStream[RolloutState]):
    """Proximal policy optimisation (Schulman et al., 2017), on an environment that changes.

    A chunk is one rollout of the present policy, cut into `epochs` x `minibatches_per_epoch`
    minibatches. The criterion is `ClippedSurrogate`, so that every algorithm, probe and matrix of
    curvature works on it; the Gauss-Newton matrix is what that class says.

    ```
    limited = tasks.TimeLimit(tasks.PointMass(), 20)
    world = tasks.ChangingEnvironment(limited, tasks.LogUniform(0.1, 5.0), 80)
    stream = tasks.PPO(world, num_tasks=2, steps_per_rollout=40, epochs=2, minibatches_per_epoch=4)
    model = models.ActorCritic(stream.in_size, stream.out_size, width=4, key=jax.random.key(0))
    learner, history = train_continual(model, stream, algorithms.bp(algorithms.adam(1e-3)))
    history["episode_return"]   # [tasks, rollouts]
    ```

    **Tasks and rollouts.** The parameter of the environment follows its own count of steps, within
    rollouts. A task of the loop is the smallest number of rollouts that takes at least
    `world.steps_per_task` steps. Where that is not a whole number, the tasks of the loop begin a
    little after those of the environment, at most one rollout later with each task. With
    `change="episode"` a change waits for the end of an episode, and may come a little after the
    task of the loop has begun. The parameter of every rollout is recorded. Probes at the start of a
    task and the evaluation play with the parameter that belongs to the task of the loop, on
    environments of their own.

    **Recorded for each rollout:** `episode_return` and `episode_length` (means over the episodes
    that ended in it, NaN if none did), `episodes` (their number), `reward` (mean of a step),
    `parameter` (at its last step, of the first environment), `dead_fraction` (of units, silent in
    the whole rollout), and means over its gradient steps of `loss`, `policy_loss`, `value_loss`,
    `entropy`, `approx_kl` (estimated KL divergence from the policy that played) and `clip_fraction`
    (of ratios, out of range). **For each task:** `evaluation_return` and `evaluation_length` of
    the first episode of separate environments, with the most probable actions.

    Only advantages are normalised by default: normalised observations and rewards change how
    plasticity is lost.
    """

    num_tasks: int = eqx.field(static=True)
    chunks_per_task: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    world: ChangingEnvironment
    num_environments: int = eqx.field(static=True)
    steps_per_rollout: int = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    surrogate: ClippedSurrogate
    discount: Float[Array, ""]
    gae_lambda: Float[Array, ""]
    advantages: Normalised = eqx.field(static=True)
    normalise_observations: bool = eqx.field(static=True)
    scale_rewards: bool = eqx.field(static=True)
    clip_actions: bool = eqx.field(static=True)
    num_evaluation_environments: int = eqx.field(static=True)
    evaluation_steps: int = eqx.field(static=True)

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
        advantages: Normalised = "rollout",
        normalise_observations: bool = False,
        scale_rewards: bool = False,
        clip_actions: bool = False,
        num_evaluation_environments: int = 4,
        evaluation_steps: int = 1000,
    ):
        """**Arguments:** the defaults are those of Dohare et al. (2024) for Slippery Ant.

        - `world`: the environment, and how it changes.
        - `num_environments`: how many are played side by side.
        - `steps_per_rollout`: environment steps in a rollout, those of all environments together.
        - `epochs`, `minibatches_per_epoch`: passes over the rollout, and gradient steps in each.
        - `discount`, `gae_lambda`: gamma, and the lambda of generalised advantage estimation.
        - `clip`, `value_weight`, `clip_value`, `entropy_weight`: see `ClippedSurrogate`.
        - `advantages`: normalised to zero mean and unit variance (unbiased) over the `"rollout"`,
            over each `"minibatch"`, or `"never"`.
        - `normalise_observations`, `scale_rewards`: by running statistics of the observations, and
            of the discounted sum of rewards, and kept within +-10. They are updated after a rollout
            and frozen within; the first rollout is left as it is.
        - `clip_actions`: the environment is given actions within +-1. Not for a choice among
            actions.
        - `num_evaluation_environments`, `evaluation_steps`: how many, and the most steps of each.
            With none there is no evaluation, which saves a good part of the time to compile an
            engine.

        **Raises:** `ValueError` for a number below one, a rollout that cannot be divided among the
        environments or into the minibatches, numbers out of range, or `clip_actions` where an
        action is a choice.
        """
        check_kind("world", world, ChangingEnvironment, "tasks.SlipperyAnt()")
        check_kind("clip_value", clip_value, bool, "True")
        counts = {
            "num_tasks": num_tasks,
            "num_environments": num_environments,
            "steps_per_rollout": steps_per_rollout,
            "epochs": epochs,
            "minibatches_per_epoch": minibatches_per_epoch,
            "evaluation_steps": evaluation_steps,
        }
        check_count("num_evaluation_environments", num_evaluation_environments, minimum=0)
        for name, count in counts.items():
            check_count(name, count)
        for name in ("num_environments", "minibatches_per_epoch"):
            if steps_per_rollout % counts[name]:
                raise ValueError(
                    f"`steps_per_rollout` is {steps_per_rollout}, but must be a multiple of "
                    f"`{name}`, which is {counts[name]}: change one of the two."
                )
        kinds = get_args(Normalised)
        if advantages not in kinds:
            raise ValueError(unknown_name("`advantages`: Kind", str(advantages), kinds))
        parts = {"minibatch": minibatches_per_epoch, "rollout": 1, "never": 0}
        if steps_per_rollout == parts[advantages]:
            raise ValueError(
                f"`advantages` is {advantages!r}, but a {advantages} of one step has no variance: "
                "pass 'never', a longer `steps_per_rollout`, or fewer `minibatches_per_epoch`."
            )
        chunks = world.rollouts_per_task(steps_per_rollout, num_tasks)
        if clip_actions and world.environment.discrete:
            raise ValueError(
                "`clip_actions` is True, but the actions of this environment are the numbers of "
                "choices, of which 0 and 1 alone would be left: leave it out."
            )
        check_fraction("discount", discount)
        check_fraction("gae_lambda", gae_lambda)
        check_above("clip", clip, 0)
        check_above("value_weight", value_weight, 0, strict=False)
        check_above("entropy_weight", entropy_weight, 0, strict=False)
        array = lambda x: jnp.asarray(x, dtype=float)
        self.num_tasks = num_tasks
        self.chunks_per_task = chunks
        self.minibatches = epochs * minibatches_per_epoch
        self.world = world
        self.num_environments = num_environments
        self.steps_per_rollout = steps_per_rollout
        self.epochs = epochs
        self.surrogate = ClippedSurrogate(
            array(clip), array(value_weight), array(entropy_weight), clip_value
        )
        self.discount = array(discount)
        self.gae_lambda = array(gae_lambda)
        self.advantages = advantages
        self.normalise_observations = normalise_observations
        self.scale_rewards = scale_rewards
        self.clip_actions = clip_actions
        self.num_evaluation_environments = num_evaluation_environments
        self.evaluation_steps = evaluation_steps

    @property
    def in_size(self) -> int:
        """Length of an observation."""
        return self.world.environment.observation_size

    @property
    def out_size(self) -> int:
        """Components of an action, or actions to choose from."""
        return self.world.environment.action_size

    def init(self, *, key: PRNGKeyArray) -> RolloutState:
        schedule_key, player_key = jax.random.split(key)
        values = self.world.values(self.num_tasks, key=schedule_key)
        return RolloutState(
            players=begin(self.world, values, self.num_environments, key=player_key),
            values=values,
            task=jnp.asarray(0),
            seen=Moments.none((self.in_size,)) if self.normalise_observations else None,
            returns=Moments.none(()) if self.scale_rewards else None,
            running=jnp.zeros(self.num_environments),
        )

    def begin_task(self, state: RolloutState, clock: Clock, *, key: PRNGKeyArray) -> RolloutState:
        return eqx.tree_at(lambda s: s.task, state, clock.task)

    def collect(
        self, state: RolloutState, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[RolloutState, Chunk, Metrics]:
        play_key, order_key = jax.random.split(key)
        act = self._actor(state, learner, greedy=False)
        steps = self.steps_per_rollout // self.num_environments
        players, rollout = play(
            self.world,
            state.values,
            state.players,
            act,
            steps,
            clip=self.clip_actions,
            key=play_key,
        )
        experience, taps = self._as_batch(state, learner, rollout)
        orders = jax.vmap(lambda k: jax.random.permutation(k, self.steps_per_rollout))(
            jax.random.split(order_key, self.epochs)
        )
        chunk = Chunk(jax.tree.map(lambda x: x[orders.reshape(self.minibatches, -1)], experience))
        metrics = episodes(rollout) | {"dead_fraction": dead_fraction(learner.model, taps)}
        return state.after(players, rollout, discount=self.discount), chunk, metrics

    def batch(self, state: RolloutState, item: PPOBatch) -> PPOBatch:
        if self.advantages != "minibatch":
            return item
        return eqx.tree_at(lambda e: e.advantage, item, normalised(item.advantage))

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: PPOBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[PolicyAndValue, Aux]:
        network, environment = (model, model_state), self.world.environment
        return policy_outputs(network, environment, batch.observation, inference=inference)

    def criterion(
        self, outputs: PolicyAndValue, batch: PPOBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        policy_loss, value_loss = self.surrogate.parts(outputs, batch)
        ratio = self.surrogate.ratio(outputs, batch)
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": outputs.policy.entropy(),
            # Of the unbiased estimates the one that is never negative.
            "approx_kl": ratio - 1 - jnp.log(ratio),
            "clip_fraction": (jnp.abs(ratio - 1) > self.surrogate.clip).astype(ratio.dtype),
        }
        loss = jnp.mean(self.surrogate.losses(outputs, batch))
        return loss, {name: jnp.mean(x) for name, x in metrics.items()}

    def output_loss(self) -> ClippedSurrogate:
        """The loss that stands for the criterion in matrices of curvature."""
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
        """`num_examples` steps of a new rollout of the present policy on an environment of its own,
        with the parameter of the task, whatever the split."""
        check_count("num_examples", num_examples, minimum=1 if self.advantages == "never" else 2)
        begin_key, play_key = jax.random.split(key)
        values = state.present(self.world)
        players = begin(self.world, values, 1, key=begin_key)
        act = self._actor(state, learner, greedy=False)
        _, rollout = play(
            self.world, values, players, act, num_examples, clip=self.clip_actions, key=play_key
        )
        return self.batch(state, self._as_batch(state, learner, rollout)[0])

    def evaluate(self, state: RolloutState, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        if self.num_evaluation_environments == 0:
            return {}
        begin_key, play_key = jax.random.split(key)
        values = state.present(self.world)
        players = begin(self.world, values, self.num_evaluation_environments, key=begin_key)
        act = self._actor(state, learner, greedy=True)
        _, rollout = play(
            self.world,
            values,
            players,
            act,
            self.evaluation_steps,
            clip=self.clip_actions,
            key=play_key,
        )
        first = jnp.cumsum(rollout.ended, axis=0) - rollout.ended == 0
        return {
            "evaluation_return": jnp.where(first, rollout.step.reward, 0).sum(axis=0).mean(),
            "evaluation_length": first.sum(axis=0, dtype=float).mean(),
        }

    def _actor(self, state: RolloutState, learner: Learner, *, greedy: bool):
        def act(observations: Array, key: PRNGKeyArray) -> Array:
            shown = state.shown(observations)
            outputs, _ = self._judge(learner, shown)
            return outputs.policy.mode() if greedy else outputs.policy.sample(key=key)

        return act

    def _judge(self, learner: Learner, shown: Array) -> tuple[PolicyAndValue, Aux]:
        network = learner.model, learner.model_state
        return policy_outputs(network, self.world.environment, shown, inference=True)

    def _as_batch(
        self, state: RolloutState, learner: Learner, rollout: Trajectory
    ) -> tuple[PPOBatch, dict[str, Array]]:
        """The steps of a rollout as rows `[steps * environments, ...]`, and their activations."""
        rows = lambda x: x.reshape(-1, *x.shape[2:])
        observations = state.shown(rows(rollout.observation))
        following = state.shown(rows(rollout.step.observation))
        outputs, aux = self._judge(learner, observations)
        rewards = rollout.step.reward
        if state.returns is not None:
            rewards = state.returns.scale(rewards.reshape(-1)).reshape(rewards.shape)
        advantages = generalised_advantages(
            rewards,
            outputs.value.reshape(rewards.shape),
            self._judge(learner, following)[0].value.reshape(rewards.shape),
            rollout.step.terminated,
            rollout.step.truncated,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
        )
        advantages, action = rows(advantages), rows(rollout.action)
        experience = PPOBatch(
            observation=observations,
            action=action,
            log_probability=outputs.policy.log_probability(action),
            advantage=normalised(advantages) if self.advantages == "rollout" else advantages,
            target=advantages + outputs.value,
            value=outputs.value,
        )
        return experience, aux.taps
