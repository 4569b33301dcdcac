"""The number that a claim is about, for one seed: levels, and what is made of two of them."""

import abc
from collections.abc import Mapping

import equinox as eqx
import numpy as np

from ..._history import History
from ._readings import AbstractReading
from ._windows import Window


Histories = Mapping[str, History]  # of one seed, by algorithm


class AbstractEffect(eqx.Module):
    """One number of the histories of one seed; NaN if they do not have it.

    All algorithms of a seed see the same tasks, so a difference between two of them is paired.
    """

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """The measure and the comparison, for tables."""

    @property
    @abc.abstractmethod
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms whose histories are read."""

    @abc.abstractmethod
    def of_seed(self, histories: Histories) -> float:
        """**Raises:** `NotRecorded` if a history does not have what is read."""


class Level(AbstractEffect):
    """The mean of a reading of one algorithm over a window of tasks."""

    reading: AbstractReading
    algorithm: str = eqx.field(static=True)
    window: Window

    @property
    def text(self) -> str:
        return f"{self.reading.text} of `{self.algorithm}`, {self.window.text}"

    @property
    def algorithms(self) -> tuple[str, ...]:
        return (self.algorithm,)

    def of_seed(self, histories: Histories) -> float:
        return self.window.of(self.reading.of(histories[self.algorithm]))


class AbstractPair(AbstractEffect):
    """A number that is made of two effects."""

    first: eqx.AbstractVar[AbstractEffect]
    second: eqx.AbstractVar[AbstractEffect]

    @property
    def algorithms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.first.algorithms, *self.second.algorithms)))


class Difference(AbstractPair):
    """One effect minus another."""

    first: AbstractEffect
    second: AbstractEffect

    @property
    def text(self) -> str:
        return f"{self.first.text}, minus {self.second.text}"

    def of_seed(self, histories: Histories) -> float:
        return self.first.of_seed(histories) - self.second.of_seed(histories)


class Ratio(AbstractPair):
    """One effect over another; NaN if the other is 0."""

    first: AbstractEffect
    second: AbstractEffect

    @property
    def text(self) -> str:
        return f"{self.first.text}, over {self.second.text}"

    def of_seed(self, histories: Histories) -> float:
        below = self.second.of_seed(histories)
        return self.first.of_seed(histories) / below if below else np.nan


class Separation(AbstractEffect):
    """The smallest level of some algorithms minus the largest of others: above 0 if the reading
    sorts the two groups without an exception."""

    reading: AbstractReading
    above: tuple[str, ...] = eqx.field(static=True)
    below: tuple[str, ...] = eqx.field(static=True)
    window: Window

    @property
    def text(self) -> str:
        groups = (", ".join(f"`{a}`" for a in group) for group in (self.above, self.below))
        return "{}, {}: smallest of {}, minus largest of {}".format(
            self.reading.text, self.window.text, *groups
        )

    @property
    def algorithms(self) -> tuple[str, ...]:
        return (*self.above, *self.below)

    def of_seed(self, histories: Histories) -> float:
        level = {a: self.window.of(self.reading.of(histories[a])) for a in self.algorithms}
        above, below = ([level[a] for a in group] for group in (self.above, self.below))
        return float(np.min(above) - np.max(below))


def change(reading: AbstractReading, algorithm: str, window: Window, since: Window) -> Difference:
    """The level of a window minus that of an earlier one."""
    return Difference(Level(reading, algorithm, window), Level(reading, algorithm, since))


def between(reading: AbstractReading, first: str, second: str, window: Window) -> Difference:
    """The level of one algorithm minus that of another."""
    return Difference(Level(reading, first, window), Level(reading, second, window))
