"""A claim, and what an interval says about it."""

import abc
from dataclasses import KW_ONLY

import equinox as eqx
import numpy as np
import scipy.stats

from ._effects import AbstractEffect


class AbstractAssertion(eqx.Module):
    """Where a claim says that its effect is."""

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """The set, for tables."""

    @abc.abstractmethod
    def judge(self, low: float, high: float) -> bool | None:
        """Whether an interval lies inside (True), outside (False) or in both (None)."""


class Above(AbstractAssertion):
    """The effect is above a number."""

    limit: float = eqx.field(static=True)

    @property
    def text(self) -> str:
        return f"> {self.limit:g}"

    def judge(self, low: float, high: float) -> bool | None:
        return True if low > self.limit else False if high < self.limit else None


class Below(AbstractAssertion):
    """The effect is below a number."""

    limit: float = eqx.field(static=True)

    @property
    def text(self) -> str:
        return f"< {self.limit:g}"

    def judge(self, low: float, high: float) -> bool | None:
        return True if high < self.limit else False if low > self.limit else None


class Within(AbstractAssertion):
    """The effect is between two numbers."""

    smallest: float = eqx.field(static=True)
    largest: float = eqx.field(static=True)

    @property
    def text(self) -> str:
        return f"in [{self.smallest:g}, {self.largest:g}]"

    def judge(self, low: float, high: float) -> bool | None:
        if self.smallest < low and high < self.largest:
            return True
        return False if high < self.smallest or low > self.largest else None


class Condition(eqx.Module):
    """What must be confirmed on the same runs before a claim is judged."""

    effect: AbstractEffect
    says: AbstractAssertion


class Claim(eqx.Module):
    """A sentence that data can contradict.

    - `name`: the study and a word, such as `digits.bp_loses`.
    - `sentence`: the claim in words.
    - `place`: where the paper makes it, or `ours`.
    - `study`: the name of the study whose runs decide it.
    - `effect`, `says`: the number for each seed, and where the claim says that its mean is.
    - `seeds`: how many seeds are planned.
    - `given`: a condition without which the runs cannot decide it.
    """

    name: str = eqx.field(static=True)
    sentence: str = eqx.field(static=True)
    place: str = eqx.field(static=True)
    study: str = eqx.field(static=True)
    effect: AbstractEffect
    says: AbstractAssertion
    seeds: int = eqx.field(static=True)
    _: KW_ONLY
    given: Condition | None = None


def detectable(num_seeds: int) -> float:
    """The distance of a mean from the limit of a claim at which 80 % of studies with this number of
    seeds decide, in standard deviations between seeds.

    (t(0.975) + t(0.8)) / sqrt(n) with n - 1 degrees of freedom. NaN below two seeds.

    ```python
    detectable(30)  # 0.529
    ```
    """
    if num_seeds < 2:
        return np.nan
    quantiles = scipy.stats.t.ppf([0.975, 0.8], num_seeds - 1)
    return float(quantiles.sum() / np.sqrt(num_seeds))
