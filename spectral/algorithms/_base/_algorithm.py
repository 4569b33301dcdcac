"""An optimiser, penalties on the loss and transforms of the learner, as one algorithm."""

from dataclasses import replace
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._base._optimiser import Optimiser
from ..._base._readable import readable
from ..._carry import branch
from ..._types import Learner, Signal, Step, TaskStart
from ...models import connected
from ._as_optimiser import as_optimiser
from ._called import after_reset, begun, followed, measured, penalised, updated
from ._continuation import same_layout, take_over
from ._protocols import AbstractPenalty, AbstractTransform


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
        self, learner: Learner, state: AlgorithmState, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, AlgorithmState]:
        """Calls `begin_task` of every transform, in order. After one that has reset parameters it
        calls `after_reset` of all other parts, before the `begin_task` of the next."""
        penalties, states = state.penalties, list(state.transforms)
        count = len(self.transforms)
        for i, (transform, own_key) in enumerate(
            zip(self.transforms, _keys(key, count), strict=True)
        ):
            learner, states[i] = begun(transform, learner, states[i], start, key=own_key)
            resets = transform.resets(learner, states[i], start.clock)
            if resets is not None:
                memory = AlgorithmState(penalties, tuple(states))
                reset_key = jax.random.fold_in(key, count + i)
                memory = self._after_reset(learner, memory, i, *resets, key=reset_key)
                penalties, states = memory.penalties, list(memory.transforms)
        return learner, AlgorithmState(penalties, tuple(states))

    def _after_reset(
        self,
        learner: Learner,
        state: AlgorithmState,
        index: int,
        due: Bool[Array, ""],
        reset: PyTree[bool],
        *,
        key: PRNGKeyArray,
    ) -> AlgorithmState:
        """The state after the transform with this index has reset parameters, if that is due."""
        owners = [
            *[connected(learner.model)] * len(self.penalties),
            *[learner] * len(self.transforms),
        ]
        own, parts = len(self.penalties) + index, (*self.penalties, *self.transforms)

        def forget(states: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(
                state if i == own else after_reset(part, owner, state, reset, key=own_key)
                for i, (part, owner, state, own_key) in enumerate(
                    zip(parts, owners, states, _keys(key, len(parts)), strict=True)
                )
            )

        states = branch(due, forget, (*state.penalties, *state.transforms))
        return AlgorithmState(states[: len(self.penalties)], states[len(self.penalties) :])

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

    def penalty(self, model: PyTree, state: AlgorithmState, step: Step) -> Float[Array, ""]:
        """Returns the sum of all penalties at `model`, for a step from `step.model`."""
        model, steps = connected(model), self._steps(step)
        values = [
            penalised(p, model, s, own)
            for p, s, own in zip(self.penalties, state.penalties, steps, strict=True)
        ]
        return sum(values, start=jnp.zeros(()))

    def _steps(self, step: Step) -> list[Step]:
        """The step as each penalty sees it."""
        model, keys = connected(step.model), _keys(step.key, len(self.penalties))
        return [replace(step, model=model, key=key) for key in keys]

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
        for penalty, own, step in zip(
            self.penalties, state.penalties, self._steps(signal.step), strict=True
        ):
            seen = replace(signal, step=step)
            penalties.append(followed(penalty, model, own, seen, key=next(keys)))
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
