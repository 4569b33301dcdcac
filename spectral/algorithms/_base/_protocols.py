"""The protocols of the parts of an algorithm: transforms of the learner, penalties on the loss."""

from abc import abstractmethod
from typing import Generic, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._base._quantity import Quantity
from ..._types import Clock, Learner, Signal, Step, TaskStart


State = TypeVar("State")


class AbstractTransform(eqx.Module, Generic[State]):
    """A change of the learner that the optimiser's step cannot make.

    optax transformations cannot do this: in a chain, one can neither reset the state of another nor
    rewrite a weight exactly. `Algorithm` calls `init` once, `begin_task` at the start of every task
    before its first gradient, and `update` after every optimiser step. By default `begin_task` and
    `update` change nothing.

    A transform whose `begin_task` puts new parameters in the place of trained ones, as `Reset`
    does, says so in `resets`. All other transforms and all penalties then forget what they
    remembered of the old parameters: `Algorithm` calls their `after_reset`.
    """

    @abstractmethod
    def init(self, learner: Learner, *, key: PRNGKeyArray) -> State:
        """Returns the state before the first task; `None` if there is nothing to remember."""

    def begin_task(
        self, learner: Learner, state: State, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, State]:
        """Returns the learner and the state with which the task begins. `start.clock` says which
        task it is, `start.sample` draws examples of it and `start.loss_of` is their loss."""
        return learner, state

    def update(
        self, learner: Learner, state: State, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, State]:
        """Returns the learner and the state after this step."""
        return learner, state

    def resets(
        self, learner: Learner, state: State, clock: Clock
    ) -> tuple[Bool[Array, ""], PyTree[bool]] | None:
        """Returns whether `begin_task` has reset parameters at this clock, and which: a tree with
        the structure of the parameters, with `True` for the arrays that are new. By default `None`:
        it never does. `learner` and `state` are those that `begin_task` has returned."""
        return None

    def after_reset(
        self, learner: Learner, state: State, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> State:
        """Returns the state after the `begin_task` of another transform has reset parameters.

        `learner` has the new parameters. By default the state is that of `init` if all parameters
        are new, and kept otherwise. A transform that remembers something for each array, or counts
        over the whole run, overrides this.
        """
        return self.init(learner, key=key) if all(jax.tree.leaves(reset)) else state

    def measure(self, state: State) -> dict[str, Array]:
        """Returns what is recorded at the end of each task, by name, such as how many units were
        replaced. By default nothing. The column of the history is `label.name`."""
        return {}

    def quantities(self) -> dict[str, Quantity]:
        """Returns what the measurements are, by their names. Those that are left out are recorded
        but not shown. By default all are shown under their own names."""
        return {}

    @property
    def label(self) -> str:
        """The first part of the names of its columns in the history."""
        return type(self).__name__


class AbstractPenalty(eqx.Module, Generic[State]):
    """A term that is added to the loss before the gradient is taken.

    It sees the step that the gradient is for: the network before the step, the minibatch, the rest
    of the chunk, and a key. `Algorithm` applies `spectral.models.connected` to the models first:
    the weights of missing connections are zero and get no gradient.
    """

    @abstractmethod
    def init(self, model: PyTree, *, key: PRNGKeyArray) -> State:
        """Returns what the penalty remembers, such as the initial weights; `None` for nothing."""

    @abstractmethod
    def value(self, model: PyTree, state: State, step: Step) -> Float[Array, ""]:
        """Returns the term. It must be differentiable in the parameters of `model`, which are those
        of `step.model`."""

    def update(self, model: PyTree, state: State, signal: Signal, *, key: PRNGKeyArray) -> State:
        """Returns the state after the step that led from `signal.step.model` to `model`, for
        example after another round of a power iteration. By default the state does not change."""
        return state

    def after_reset(
        self, model: PyTree, state: State, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> State:
        """Returns the state after the `begin_task` of a transform has reset parameters; see
        `AbstractTransform.after_reset`."""
        return self.init(model, key=key) if all(jax.tree.leaves(reset)) else state
