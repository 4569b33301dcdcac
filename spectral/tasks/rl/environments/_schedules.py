"""The values of an environment's parameter, task by task."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, as_int_or_none, check_above, check_count, check_kind
from ..._base._no_fresh_task import NoFreshTaskError


class AbstractSchedule(eqx.Module):
    """The values of a parameter, one for each task."""

    @abstractmethod
    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        """Returns the values of the first `count` tasks. No value depends on `count`."""

    def fresh_value(self, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Returns a value that is drawn as those of the tasks are, and that no task has.

        **Raises:** `NoFreshTaskError` (by default) for a schedule that does not draw its values.
        """
        raise NoFreshTaskError(
            f"`schedule` is of type {type(self).__name__}, which has no value that the run will "
            "not see, or does not define `fresh_value`: choose one that draws its values, such as "
            "`tasks.LogUniform()`."
        )


class LogUniform(AbstractSchedule):
    """Draws a value for every task, log-uniformly between `low` and `high`.

    The default range is that of the friction in Slippery Ant (Dohare et al., 2024). The values
    depend on `seed` only and are the same in every run and precision. With `seed=None` they are
    drawn from the key of the run, as Dohare et al. do.

    **Raises:** `ValueError` if `low` is not positive or exceeds `high`.
    """

    low: Float[Array, ""]
    high: Float[Array, ""]
    seed: int | None = eqx.field(static=True, converter=as_int_or_none)

    def __init__(
        self,
        *,
        low: float | Float[Array, ""] = 0.02,
        high: float | Float[Array, ""] = 2.0,
        seed: int | None = 0,
    ):
        check_above("low", low, 0)
        check_above("high - low", high - low, 0, strict=False)
        self.low = jnp.asarray(low, dtype=float)
        self.high = jnp.asarray(high, dtype=float)
        self.seed = seed

    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        key = key if self.seed is None else jax.random.key(self.seed)
        keys = jax.vmap(lambda task: jax.random.fold_in(key, task))(jnp.arange(count))
        return jnp.exp(jax.vmap(self._log_draw)(keys).astype(float))

    def fresh_value(self, *, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.exp(self._log_draw(key).astype(float))

    def _log_draw(self, key: PRNGKeyArray) -> Float[Array, ""]:
        # Always single precision, because the draws depend on the precision.
        single = jnp.float32
        ends = jnp.log(self.low).astype(single), jnp.log(self.high).astype(single)
        return jax.random.uniform(key, dtype=single, minval=ends[0], maxval=ends[1])


class Cycle(AbstractSchedule):
    """Repeats the given values in turn. A single value never changes.

    **Raises:** `ValueError` for no values, or for a value that is not positive.
    """

    each: Float[Array, " each"]

    def __init__(self, each: tuple[float, ...]):
        if np.ndim(each) != 1 or len(each) == 0:
            raise ValueError(
                f"`each` is {each}, but must be a sequence of one or more numbers: pass, for "
                "example, `(0.5, 2.0)`."
            )
        for value in each:
            check_above("each", value, 0)
        self.each = jnp.asarray(each, dtype=float)

    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        return self.each[jnp.arange(count) % len(self.each)]


class Revisit(AbstractSchedule):
    """Returns to the first value of `schedule` every `period` tasks, and has its values in between.

    This compares a learner with itself on one task that it meets repeatedly.

    **Raises:** `ValueError` for a period below two, `TypeError` if `schedule` is not an
    `AbstractSchedule`.
    """

    schedule: AbstractSchedule
    _: KW_ONLY
    period: int = eqx.field(static=True, default=2, converter=as_int)

    def __check_init__(self):
        check_kind("schedule", self.schedule, AbstractSchedule, "tasks.LogUniform()")
        check_count("period", self.period, minimum=2)

    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        values = self.schedule.values(count, key=key)
        return jnp.where(jnp.arange(count) % self.period == 0, values[:1], values)

    def fresh_value(self, *, key: PRNGKeyArray) -> Float[Array, ""]:
        return self.schedule.fresh_value(key=key)


class TaskIndex(AbstractSchedule):
    """The index of the task: 0, 1, 2, ...

    It is the parameter of environments that differ in kind from task to task: `Games`,
    `PermutedObservations` and `ReversedActions`. `Revisit(TaskIndex())` returns to the first
    kind in every second task.
    """

    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        return jnp.arange(count).astype(float)


def has_index(schedule: AbstractSchedule) -> bool:
    """Whether a `TaskIndex` is, or is part of, a schedule."""
    is_index = lambda part: isinstance(part, TaskIndex)
    return any(map(is_index, jax.tree.leaves(schedule, is_leaf=is_index)))
