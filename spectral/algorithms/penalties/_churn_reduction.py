"""The penalty of C-CHAIN on the churn of outputs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import as_int, check_count, check_kind
from ..._types import Clock, Signal, Step
from ...models import AbstractPolicy, CategoricalPolicy, GaussianPolicy, PolicyAndValue
from .._base._after_reset import where_reset
from .._base._arguments import as_non_negative, Number
from .._base._protocols import AbstractPenalty


# The first steps of a run have no earlier network, and are not counted.
_SILENT_STEPS = 2
_SMALL = 1e-8


class ChurnState(eqx.Module):
    """The parameters one minibatch ago, and the last losses and churns."""

    previous: PyTree
    losses: Float[Array, " window"]  # absolute values
    churns: Float[Array, " window"]
    count: Int[Array, ""]  # of steps that were counted, in the task or in the run


class ChurnReduction(AbstractPenalty[ChurnState]):
    """coefficient times the churn: how far the step before has moved the outputs for other data.

    C-CHAIN (Tang et al., *Mitigating Plasticity Loss in Continual Reinforcement Learning by
    Reducing Churn*, 2025). The churn compares the outputs now with those of the network one
    minibatch ago, for a reference minibatch from the same chunk, drawn again at every step. The
    gradient goes through the outputs now. The churn of

    - a categorical policy is the mean cross-entropy, -sum pi_before log(pi + 1e-8);
    - a normal policy is the mean square of the change of its means;
    - an array of outputs is the mean square of its change, as of the action values of a Q-network.

    Of an actor and a critic, the policy alone is penalised. The coefficient is

    max(scale mean(|loss|) / (mean(churn) + 1e-8), floor)

    with means over the last `window` steps of the task before this one. It is `initial` in the
    first `initial_chunks` chunks of each task, and 0 in the first two steps of the run. The loss is
    the stream's metric `policy_loss` for an actor and a critic, and its criterion otherwise. With
    `restarts=False` the window is kept from task to task, and `initial` holds once, for the steps
    of `initial_chunks` chunks; steps in which learning pauses do not count.

    The defaults are those of the authors' code for continuous actions. A cross-entropy is never 0,
    so for discrete actions their scale is larger by far: scale 10000, initial 1, 10 chunks, window
    50 and floor 1 in classic control; initial 10, 20 chunks and window 200 in ProcGen. Their double
    DQN on MinAtar has scale 0.01, initial 50 for 10,000 steps, window 50,000 and `restarts=False`.
    Their factor for annealed learning rates is not here. The publication is about reinforcement
    learning: the penalty of a classifier or a regression is our adaptation.

    The reference is one of the chunk's minibatches, which may be that of the step; the authors
    shuffle the rollout, or draw from the replay, again. In a chunk of a single minibatch it always
    is that of the step, so take several, such as 8 in `DQN`. The penalty takes two forward passes
    and a backward pass per step, and keeps a copy of the weights.
    """

    scale: Float[Array, ""]
    initial: Float[Array, ""]
    floor: Float[Array, ""]
    initial_chunks: int = eqx.field(static=True, converter=as_int)
    window: int = eqx.field(static=True, converter=as_int)
    restarts: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        scale: Number = 0.05,
        initial: Number = 100.0,
        floor: Number = 0.0,
        initial_chunks: int = 50,
        window: int = 100,
        restarts: bool = True,
    ):
        """**Raises:** `ValueError` for a negative number, or for chunks or a window below one;
        `TypeError` if `restarts` is not a Boolean."""
        self.scale = as_non_negative("scale", scale)
        self.initial = as_non_negative("initial", initial)
        self.floor = as_non_negative("floor", floor)
        check_count("initial_chunks", initial_chunks)
        check_count("window", window)
        check_kind("restarts", restarts, bool, "True")
        self.initial_chunks = initial_chunks
        self.window = window
        self.restarts = restarts

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> ChurnState:
        empty = jnp.zeros(self.window)
        return ChurnState(_parameters(model), empty, empty, jnp.asarray(0))

    def value(self, model: PyTree, state: ChurnState, step: Step) -> Float[Array, ""]:
        """**Raises:** `TypeError` for outputs whose churn is not defined above."""
        now, before = _reference_outputs(model, state, step)
        return self.coefficient(state, step) * churn(now, before)

    def coefficient(self, state: ChurnState, step: Step) -> Float[Array, ""]:
        """Returns the coefficient of a step."""
        used = jnp.arange(self.window) < state.count
        total = jnp.maximum(jnp.sum(used), 1)
        loss, moved = (jnp.sum(x, where=used) / total for x in (state.losses, state.churns))
        adapted = jnp.maximum(self.scale * loss / (moved + _SMALL), self.floor)
        early = state.count < self.initial_chunks * step.minibatches
        if self.restarts:
            early = (step.clock.chunk < self.initial_chunks) | (state.count == 0)
        return jnp.where(_counts(step.clock), jnp.where(early, self.initial, adapted), 0)

    def update(
        self, model: PyTree, state: ChurnState, signal: Signal, *, key: PRNGKeyArray
    ) -> ChurnState:
        """**Raises:** `ValueError` for a policy, if the stream records no `policy_loss`."""
        # The same passes as in `value`, with the same key: the compiler computes them once.
        now, before = _reference_outputs(signal.step.model, state, signal.step)
        loss, clock = _loss_of(signal, now), signal.clock
        begins = (clock.chunk == 0) & (clock.step_in_chunk == 0)
        count = jnp.where(begins, 0, state.count) if self.restarts else state.count
        counts, at = _counts(clock), count % self.window

        def put(numbers: Float[Array, " window"], new: Array) -> Float[Array, " window"]:
            return numbers.at[at].set(jnp.where(counts, new, numbers[at]))

        return ChurnState(
            previous=_parameters(signal.step.model),
            losses=put(state.losses, jnp.abs(loss)),
            churns=put(state.churns, churn(now, before)),
            count=count + counts,
        )

    def after_reset(
        self, model: PyTree, state: ChurnState, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> ChurnState:
        if all(jax.tree.leaves(reset)):
            return self.init(model, key=key)
        previous = where_reset(reset, _parameters(model), state.previous)
        return eqx.tree_at(lambda s: s.previous, state, previous)


def churn(now: Any, before: Any) -> Float[Array, ""]:
    """Returns the churn of the outputs of a batch, as `ChurnReduction` defines it.

    **Raises:** `TypeError` for other policies.
    """
    if isinstance(now, PolicyAndValue):
        return churn(now.policy, before.policy)
    if isinstance(now, CategoricalPolicy):
        probabilities = jax.nn.softmax(before.logits)
        logs = jnp.log(jax.nn.softmax(now.logits) + _SMALL)
        return -jnp.mean(jnp.sum(probabilities * logs, axis=-1))
    if isinstance(now, GaussianPolicy):
        return jnp.mean((now.mean - before.mean) ** 2)
    if not eqx.is_array(now) or isinstance(now, AbstractPolicy):
        raise TypeError(
            f"`model` gives outputs of type {type(now).__name__}, whose churn is not defined, but "
            "`ChurnReduction` needs an array, a `CategoricalPolicy` or a `GaussianPolicy`: use "
            "another network or another penalty."
        )
    return jnp.mean((now - before) ** 2)


def _reference_outputs(model: PyTree, state: ChurnState, step: Step) -> tuple[Any, Any]:
    """The outputs of the model and of the earlier network for the reference minibatch."""
    batch = step.reference_batch()
    earlier = eqx.combine(state.previous, model)
    # One key for both, so that random activations and dropout do not count as churn.
    now, before = (step.outputs_of(m, batch, key=step.key) for m in (model, earlier))
    return now, before


def _loss_of(signal: Signal, outputs: Any) -> Float[Array, ""]:
    if not isinstance(outputs, PolicyAndValue):
        return signal.loss
    if "policy_loss" not in signal.metrics:
        raise ValueError(
            f"The criterion of the stream has the metrics {sorted(signal.metrics)}, but "
            "`ChurnReduction` needs `policy_loss` for a policy: return the loss of the policy "
            "under this name, as `tasks.PPO` does."
        )
    return signal.metrics["policy_loss"]


def _counts(clock: Clock) -> Bool[Array, ""]:
    return clock.step >= _SILENT_STEPS


def _parameters(model: PyTree) -> PyTree:
    return eqx.filter(model, eqx.is_inexact_array)
