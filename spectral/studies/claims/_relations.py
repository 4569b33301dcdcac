"""Effects that relate two readings task by task."""

import equinox as eqx
import numpy as np
import scipy.stats

from ..analysis._collapse_test import collapse_test
from ..analysis._drops import blocks
from ._effects import AbstractEffect, Histories
from ._readings import AbstractReading
from ._windows import Window


class Correlation(AbstractEffect):
    """Spearman's correlation of two readings over the tasks that have both, without task 0.

    - `within`: the mean over algorithms of the correlation within each; otherwise the points of
      all algorithms are pooled, as in the figures of the paper.
    - `num_tasks`: only the first tasks, by default all.
    - `relative_to`: the algorithm whose second reading is subtracted; none if empty.
    """

    first: AbstractReading
    second: AbstractReading
    among: tuple[str, ...] = eqx.field(static=True)
    within: bool = eqx.field(static=True, default=False)
    num_tasks: int | None = eqx.field(static=True, default=None)
    relative_to: str = eqx.field(static=True, default="")

    @property
    def algorithms(self) -> tuple[str, ...]:
        return self.among

    @property
    def text(self) -> str:
        among = ", ".join(f"`{a}`" for a in self.among if a != self.relative_to)
        how = "mean within" if self.within else "pooled over"
        tasks = "" if self.num_tasks is None else f", first {self.num_tasks} tasks"
        minus = f" minus that of `{self.relative_to}`" if self.relative_to else ""
        second = f"{self.second.text}{minus}"
        return f"Spearman's correlation of {self.first.text} and {second}{tasks}, {how} {among}"

    def of_seed(self, histories: Histories) -> float:
        own = [a for a in self.among if a != self.relative_to]
        points = [self._points(histories, algorithm) for algorithm in own]
        if not self.within:
            return _spearman(np.concatenate(points, axis=1))
        known = [r for r in map(_spearman, points) if np.isfinite(r)]
        return float(np.mean(known)) if known else np.nan

    def _points(self, histories: Histories, algorithm: str) -> np.ndarray:
        x = self.first.of(histories[algorithm])
        y = self.second.of(histories[algorithm])
        if self.relative_to:
            y = y - self.second.of(histories[self.relative_to])
        pairs = np.stack([x, y])[:, 1 : self.num_tasks]
        return pairs[:, np.isfinite(pairs).all(axis=0)]


class Bound(eqx.Module):
    """A condition on a task: that a reading is above or below a number.

    With `of_early` the number is a fraction of the level of the same run in a window; with
    `from_early` it is a difference from that level.
    """

    reading: AbstractReading
    above: bool = eqx.field(static=True)
    limit: float = eqx.field(static=True)
    of_early: Window | None = None
    from_early: Window | None = None

    @property
    def text(self) -> str:
        side = "above" if self.above else "below"
        if self.of_early is not None:
            return f"{self.reading.text} is {side} {self.limit:g} of its {self.of_early.text}"
        if self.from_early is not None:
            level = f"its {self.from_early.text}"
            return f"{self.reading.text} is {side} {level} by {abs(self.limit):g}"
        return f"{self.reading.text} is {side} {self.limit:g}"

    def holds(self, histories: Histories, algorithm: str) -> np.ndarray:
        """Whether it holds in each task: 1, 0, or NaN where nothing was measured."""
        series = self.reading.of(histories[algorithm])
        limit = self.limit
        if self.of_early is not None:
            limit = limit * self.of_early.of(series)
        if self.from_early is not None:
            limit = limit + self.from_early.of(series)
        held = series >= limit if self.above else series <= limit
        return np.where(np.isfinite(series), held, np.nan)


class Implication(AbstractEffect):
    """The fraction of tasks that meet a second condition among those that meet a first, over all
    algorithms. Task 0 is left out. NaN if no task meets the first condition."""

    given: Bound
    then: Bound
    among: tuple[str, ...] = eqx.field(static=True)

    @property
    def algorithms(self) -> tuple[str, ...]:
        return self.among

    @property
    def text(self) -> str:
        among = ", ".join(f"`{a}`" for a in self.among)
        return f"fraction of tasks in which {self.then.text}, if {self.given.text}; {among}"

    def of_seed(self, histories: Histories) -> float:
        held = []
        for algorithm in self.among:
            given = self.given.holds(histories, algorithm)[1:]
            then = self.then.holds(histories, algorithm)[1:]
            held.append(then[(given == 1) & np.isfinite(then)])
        met = np.concatenate(held)
        return float(met.mean()) if len(met) else np.nan


class Lead(AbstractEffect):
    """The task at which the second reading drops minus that at which the first does, on the tasks
    that have both, by `collapse_test` at 5 %. NaN if one of them does not drop."""

    first: AbstractReading
    second: AbstractReading
    algorithm: str = eqx.field(static=True)

    @property
    def text(self) -> str:
        pair = f"from the drop of {self.first.text} to that of {self.second.text}"
        return f"tasks {pair}, `{self.algorithm}`"

    @property
    def algorithms(self) -> tuple[str, ...]:
        return (self.algorithm,)

    def of_seed(self, histories: Histories) -> float:
        pair = [r.of(histories[self.algorithm]) for r in (self.first, self.second)]
        both = np.isfinite(np.stack(pair)).all(axis=0)
        drops = [collapse_test(blocks(np.where(both, series, np.nan))) for series in pair]
        return drops[1].task - drops[0].task if all(d.found for d in drops) else np.nan


def _spearman(points: np.ndarray) -> float:
    if points.shape[1] < 4 or (np.ptp(points, axis=1) == 0).any():
        return np.nan
    x, y = scipy.stats.rankdata(points, axis=1)
    return float(np.corrcoef(x, y)[0, 1])
