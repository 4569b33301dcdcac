"""What an algorithm is made of: an optimiser, penalties on the loss, transforms of the learner."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._types import Clock, Learner, Optimiser, Signal
from ...models import connected


State = TypeVar("State")


class AbstractTransform(eqx.Module, Generic[State]):
    """A change of the learner beyond the optimiser's step.

    optax transformations cannot do this work: chained ones neither reset each other's state nor
    rewrite a weight exactly. `init` is called once, `begin_task` at the start of every task before
    its first gradient, `update` after every optimiser step. The last two change nothing unless they
    are written.
    """

    @abstractmethod
    def init(self, learner: Learner, *, key: PRNGKeyArray) -> State:
        """The state before the first task; `None` if there is nothing to remember."""

    def begin_task(
        self, learner: Learner, state: State, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, State]:
        """The learner with which the task begins."""
        return learner, state

    def update(
        self, learner: Learner, state: State, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, State]:
        """The learner after this step."""
        return learner, state


class AbstractPenalty(eqx.Module, Generic[State]):
    """A term that is added to the loss before the gradient is taken.

    `Algorithm` hands over the model as `spectral.models.connected` gives it: the weights of
    connections that do not exist are zero, and get no gradient.
    """

    @abstractmethod
    def init(self, model: PyTree, *, key: PRNGKeyArray) -> State:
        """What the penalty remembers, such as the initial weights; `None` for nothing."""

    @abstractmethod
    def value(self, model: PyTree, state: State) -> Float[Array, ""]:
        """The term, differentiable in the parameters of `model`."""

    @abstractmethod
    def update(self, model: PyTree, state: State, *, key: PRNGKeyArray) -> State:
        """The state after the optimiser's step that led to `model`: another step of a power
        iteration, another sample. `state` itself if nothing evolves."""


class AlgorithmState(eqx.Module):
    penalties: tuple[Any, ...]
    transforms: tuple[Any, ...]


class Algorithm(eqx.Module):
    """An optimiser, penalties that are added to the loss, and transforms that follow each step.

    The transforms act in the order in which they are listed. Recipes such as
    `spectral.algorithms.l2_er` are one expression that makes an `Algorithm`.

    ```python
    Algorithm(Optimiser(optax.sgd, learning_rate=0.01), penalties=(L2(1e-3),))
    ```
    """

    optimiser: Optimiser
    _: KW_ONLY
    penalties: tuple[AbstractPenalty, ...] = ()
    transforms: tuple[AbstractTransform, ...] = ()

    def init(
        self, model: PyTree, model_state: eqx.nn.State | None, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """The learner and the state of this algorithm before the first task."""
        learner = Learner(model, model_state, self.optimiser.init(model))
        keys = _keys(key, len(self.penalties) + len(self.transforms))
        penalties = tuple(p.init(connected(model), key=next(keys)) for p in self.penalties)
        transforms = tuple(t.init(learner, key=next(keys)) for t in self.transforms)
        return learner, AlgorithmState(penalties, transforms)

    def begin_task(
        self, learner: Learner, state: AlgorithmState, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """Every transform's `begin_task`, in order."""
        after = []
        keys = _keys(key, len(self.transforms))
        for transform, own in zip(self.transforms, state.transforms, strict=True):
            learner, own = transform.begin_task(learner, own, clock, key=next(keys))
            after.append(own)
        return learner, AlgorithmState(state.penalties, tuple(after))

    def penalty(self, model: PyTree, state: AlgorithmState) -> Float[Array, ""]:
        """The sum of all penalties."""
        model = connected(model)
        values = [p.value(model, s) for p, s in zip(self.penalties, state.penalties, strict=True)]
        return sum(values, start=jnp.zeros(()))

    def update(
        self, learner: Learner, state: AlgorithmState, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """The optimiser's step, then every transform's `update` in order, then the penalties'."""
        keys = _keys(key, 1 + len(self.transforms) + len(self.penalties))
        model, optimiser = learner.optimiser.apply(signal.grads, learner.model, key=next(keys))
        learner = Learner(model, learner.model_state, optimiser)
        transforms, penalties = [], []
        for transform, own in zip(self.transforms, state.transforms, strict=True):
            learner, own = transform.update(learner, own, signal, key=next(keys))
            transforms.append(own)
        model = connected(learner.model)
        for penalty, own in zip(self.penalties, state.penalties, strict=True):
            penalties.append(penalty.update(model, own, key=next(keys)))
        return learner, AlgorithmState(tuple(penalties), tuple(transforms))


def _keys(key: PRNGKeyArray, count: int):
    return (jax.random.fold_in(key, i) for i in range(count))
