"""The parts of an algorithm: an optimiser, penalties on the loss, transforms of the learner."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Generic, NoReturn, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._base._optimiser import Optimiser
from ..._base._quantity import Quantity
from ..._base._readable import readable
from ..._types import Clock, Learner, Signal
from ...models import connected
from ._as_optimiser import as_optimiser
from ._called import begun, followed, measured, penalised, updated
from ._continuation import same_layout, take_over


State = TypeVar("State")


class AbstractTransform(eqx.Module, Generic[State]):
    """A change of the learner that the optimiser's step cannot make.

    optax transformations cannot do this: in a chain, one can neither reset the state of another nor
    rewrite a weight exactly. `Algorithm` calls `init` once, `begin_task` at the start of every task
    before its first gradient, and `update` after every optimiser step. By default `begin_task` and
    `update` change nothing.
    """

    @abstractmethod
    def init(self, learner: Learner, *, key: PRNGKeyArray) -> State:
        """Returns the state before the first task; `None` if there is nothing to remember."""

    def begin_task(
        self, learner: Learner, state: State, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, State]:
        """Returns the learner and the state with which the task begins."""
        return learner, state

    def update(
        self, learner: Learner, state: State, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, State]:
        """Returns the learner and the state after this step."""
        return learner, state

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

    `Algorithm` applies `spectral.models.connected` to the model first: the weights of missing
    connections are zero and get no gradient.
    """

    @abstractmethod
    def init(self, model: PyTree, *, key: PRNGKeyArray) -> State:
        """Returns what the penalty remembers, such as the initial weights; `None` for nothing."""

    @abstractmethod
    def value(self, model: PyTree, state: State) -> Float[Array, ""]:
        """Returns the term. It must be differentiable in the parameters of `model`."""

    def update(self, model: PyTree, state: State, *, key: PRNGKeyArray) -> State:
        """Returns the state after the optimiser's step that led to `model`, for example after
        another round of a power iteration. By default the state does not change."""
        return state


class AlgorithmState(eqx.Module):
    """The states of an algorithm's penalties and transforms, in their order."""

    penalties: tuple[Any, ...]
    transforms: tuple[Any, ...]


class Algorithm(eqx.Module):
    """An optimiser, penalties on the loss, and transforms that follow each step.

    Transforms act in the order in which they are listed. A recipe such as
    `spectral.algorithms.l2_er` is one expression that makes an `Algorithm`.

    ```python
    Algorithm(Optimiser(optax.sgd, learning_rate=0.01), penalties=(L2(1e-3),))
    ```
    """

    optimiser: Optimiser
    penalties: tuple[AbstractPenalty, ...]
    transforms: tuple[AbstractTransform, ...]

    __repr__ = readable

    def __init__(
        self,
        optimiser: Optimiser | optax.GradientTransformation,
        *misplaced: Any,
        penalties: tuple[AbstractPenalty, ...] = (),
        transforms: tuple[AbstractTransform, ...] = (),
    ):
        """**Arguments:**

        - `optimiser`: an `Optimiser`, or an optax transformation such as `optax.adam(1e-3)`. The
          numbers of a transformation are constants, and every new one compiles again.
        - `penalties`, `transforms`: tuples, given by name.

        **Raises:** `TypeError` if `optimiser` is a function such as `optax.adam`, or if penalties
        and transforms are not tuples or not given by name.
        """
        if misplaced:
            _reject_part(misplaced[0])
        self.optimiser = as_optimiser("optimiser", optimiser)
        self.penalties = _all_of("penalties", penalties, AbstractPenalty)
        self.transforms = _all_of("transforms", transforms, AbstractTransform)

    def init(
        self, model: PyTree, model_state: eqx.nn.State | None, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """Returns the learner and the state of this algorithm before the first task."""
        learner = Learner(model, model_state, self.optimiser.init(model))
        keys = _keys(key, len(self.penalties) + len(self.transforms))
        penalties = tuple(p.init(connected(model), key=next(keys)) for p in self.penalties)
        transforms = tuple(t.init(learner, key=next(keys)) for t in self.transforms)
        return learner, AlgorithmState(penalties, transforms)

    def continue_from(
        self, earlier: Learner, memory: AlgorithmState | None = None, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """Returns the learner and the state of this algorithm before the first task, for a network
        that has been trained before.

        The weights, the model state and the state of the optimiser are those of `earlier`. The
        numbers of the optimiser, such as its learning rate, are those of this algorithm.

        **Arguments:**

        - `memory`: what penalties and transforms remember of the earlier run. By default their
          state is initialised from the trained network.

        **Raises:** `ValueError` if the state of the optimiser or the memory does not have the
        structure that this algorithm needs.
        """
        fresh, state = self.init(earlier.model, earlier.model_state, key=key)
        learner = replace(fresh, optimiser=take_over(fresh.optimiser, earlier.optimiser))
        if memory is None:
            return learner, state
        if not same_layout(state, memory):
            raise ValueError(
                "`model` is a Run of an algorithm with other penalties or transforms than `algo`, "
                "so their memory does not fit: pass the same algorithm, or `run.learner` to "
                "initialise their memory again."
            )
        return learner, memory

    def begin_task(
        self, learner: Learner, state: AlgorithmState, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """Calls `begin_task` of every transform, in order."""
        after = []
        keys = _keys(key, len(self.transforms))
        for transform, own in zip(self.transforms, state.transforms, strict=True):
            learner, own = begun(transform, learner, own, clock, key=next(keys))
            after.append(own)
        return learner, AlgorithmState(state.penalties, tuple(after))

    def measure(self, state: AlgorithmState) -> dict[str, Array]:
        """Returns the measurements of all transforms, by the columns of the history."""
        return {
            f"{label}.{name}": value
            for label, transform, own in zip(
                self.labels, self.transforms, state.transforms, strict=True
            )
            for name, value in measured(transform, own).items()
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the transforms, numbered from the second of a name on."""
        plain = [transform.label for transform in self.transforms]
        before = [plain[:i].count(label) for i, label in enumerate(plain)]
        return tuple(f"{label}_{n}" if n else label for label, n in zip(plain, before, strict=True))

    def penalty(self, model: PyTree, state: AlgorithmState) -> Float[Array, ""]:
        """Returns the sum of all penalties."""
        model = connected(model)
        values = [
            penalised(p, model, s) for p, s in zip(self.penalties, state.penalties, strict=True)
        ]
        return sum(values, start=jnp.zeros(()))

    def update(
        self, learner: Learner, state: AlgorithmState, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """Takes the optimiser's step, then calls `update` of every transform and every penalty."""
        keys = _keys(key, 1 + len(self.transforms) + len(self.penalties))
        clock = signal.clock
        step_in_task = clock.chunk * signal.minibatches + clock.step_in_chunk
        optimiser = learner.optimiser.scheduled(clock.step, step_in_task)
        model, optimiser = optimiser.apply(
            signal.grads, learner.model, value=signal.objective, key=next(keys)
        )
        learner = replace(learner, model=model, optimiser=optimiser)
        transforms, penalties = [], []
        for transform, own in zip(self.transforms, state.transforms, strict=True):
            learner, own = updated(transform, learner, own, signal, key=next(keys))
            transforms.append(own)
        model = connected(learner.model)
        for penalty, own in zip(self.penalties, state.penalties, strict=True):
            penalties.append(followed(penalty, model, own, key=next(keys)))
        return learner, AlgorithmState(tuple(penalties), tuple(transforms))


_PARTS = {AbstractPenalty: "penalties", AbstractTransform: "transforms"}


def _all_of(argument: str, parts: Any, kind: type) -> tuple[Any, ...]:
    """`parts`, if it is a tuple of parts of this kind."""
    if isinstance(parts, list):
        for part in parts:
            if not isinstance(part, kind):
                _reject_part(part)
    if not isinstance(parts, tuple):
        shown = readable(parts)
        example = f"({shown},)" if isinstance(parts, kind) else f"tuple({argument})"
        raise TypeError(
            f"`{argument}` is {shown}, but must be a tuple of {kind.__name__}: pass "
            f"`{argument}={example}`."
        )
    for part in parts:
        if not isinstance(part, kind):
            _reject_part(part)
    return parts


def _reject_part(part: Any) -> NoReturn:
    """Raise for a part in the wrong place, with the right one."""
    shown = readable(part)
    for kind, argument in _PARTS.items():
        if isinstance(part, kind):
            raise TypeError(
                f"{shown} is in the wrong place, but every {kind.__name__} must be in the tuple "
                f"`{argument}`: pass `{argument}=({shown},)`."
            )
    raise TypeError(
        f"{shown} is neither an AbstractPenalty nor an AbstractTransform: pass penalties as "
        "`penalties=(...,)` and transforms as `transforms=(...,)`."
    )


def _keys(key: PRNGKeyArray, count: int):
    return (jax.random.fold_in(key, i) for i in range(count))
