"""How many networks a property is tried on, and how often it says something."""

from typing import Any

import pytest
from hypothesis import given, HealthCheck, Phase, seed, settings


QUICK, SLOW = 40, 1000
# Cases follow from this number and not from the source of a property, so editing a test does not
# draw other cases. `Tally` compares a fraction of only 40 of them.
_SEED = 4
# Every statement that holds is tried on 40 drawn cases, and on 1000 in the full suite.
COUNTS = pytest.mark.parametrize("count", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)])


def counts_of(first, *others):
    """As `COUNTS`, for a statement with several forms: a few cases of the first, many of all."""
    slow = [pytest.param(name, SLOW, marks=pytest.mark.slow) for name in (first, *others)]
    return [(first, QUICK), *slow]


def tried(count, *drawn, shrink=True):
    """Run the decorated property on `count` drawn cases, the same ones every time."""
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    chosen = settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=phases,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return lambda holds: seed(_SEED)(chosen(given(*drawn)(holds)))()


def broken(*drawn):
    """Run a property that is wrong on purpose: one of the first cases shows it."""

    def run(holds):
        with pytest.raises(AssertionError):
            tried(5 * QUICK, *drawn, shrink=False)(holds)

    return run


class Tally:
    """In how many cases a hypothesis was met, and in how many of these the bound was tight."""

    def __init__(self):
        self.cases = self.applied = self.tight = 0

    def add(self, applies: Any, tight: Any = True):
        self.cases += 1
        self.applied += bool(applies)
        self.tight += bool(applies and tight)

    def at_least(self, applies, tight=0.0):
        assert self.applied >= applies * self.cases, (self.applied, self.cases)
        assert self.tight >= tight * self.applied, (self.tight, self.applied)
