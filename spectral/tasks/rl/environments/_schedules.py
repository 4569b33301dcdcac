"""The values that the parameter of an environment takes, task by task."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above, check_count, check_kind


class AbstractSchedule(eqx.Module):
    """The value of a parameter in each task."""

    @abstractmethod
    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        """The values of the first `count` tasks. That of a task does not depend on `count`."""


class LogUniform(AbstractSchedule):
    """In every task a new value, uniform in its logarithm between `low` and `high`.

    The defaults are the frictions of Slippery Ant (Dohare et al., 2024). The draws follow from
    `seed` and are the same in every run and precision; `None` draws others in every run, from its
    key, as Dohare et al. do.

    **Raises:** `ValueError` for a `low` that is not positive, or a `high` below it.
    """

    low: Float[Array, ""]
    high: Float[Array, ""]
    seed: int | None = eqx.field(static=True)

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
        # In single precision always: other precisions would be given other draws.
        single = jnp.float32
        ends = jnp.log(self.low).astype(single), jnp.log(self.high).astype(single)
        draw = lambda k: jax.random.uniform(k, dtype=single, minval=ends[0], maxval=ends[1])
        return jnp.exp(jax.vmap(draw)(keys).astype(float))


class Cycle(AbstractSchedule):
    """The given values in turn, over and over: a single one never changes.

    **Raises:** `ValueError` for no values, or one that is not positive.
    """

    each: Float[Array, " each"]

    def __init__(self, each: tuple[float, ...]):
        if np.ndim(each) != 1 or len(each) == 0:
            raise ValueError(
                f"`each` is {each}, but must be a sequence of one or more numbers: pass for "
                "example `(0.5, 2.0)`."
            )
        for value in each:
            check_above("each", value, 0)
        self.each = jnp.asarray(each, dtype=float)

    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        return self.each[jnp.arange(count) % len(self.each)]


class Revisit(AbstractSchedule):
    """Every `period` tasks the first value of `schedule` again, and its own values in between.

    So a learner can be compared with itself on one task that it meets again and again.

    **Raises:** `ValueError` for a period below two, `TypeError` for what is no schedule.
    """

    schedule: AbstractSchedule
    _: KW_ONLY
    period: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        check_kind("schedule", self.schedule, AbstractSchedule, "tasks.LogUniform()")
        check_count("period", self.period, minimum=2)

    def values(self, count: int, *, key: PRNGKeyArray) -> Float[Array, " count"]:
        values = self.schedule.values(count, key=key)
        return jnp.where(jnp.arange(count) % self.period == 0, values[:1], values)
