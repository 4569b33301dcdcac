"""Times all contenders of a case in turn, in one process."""

import gc
import time
from dataclasses import dataclass

import numpy as np

from timing.case import Case, Contender
from timing.limits import limits


OURS = "ours"


@dataclass(frozen=True)
class Measured:
    """What was measured of a case.

    - `seconds`, `processor`: for each contender, on the clock and of all threads together, for one
      unit in each round.
    - `limits`: by name, the units per second in each round of the library that is fastest there.
    """

    name: str
    seconds: dict[str, list[float]]
    processor: dict[str, list[float]]
    limits: dict[str, list[float]]
    flops: float | None
    traffic: float | None


def measure(work: str, case: Case, rounds: int) -> Measured:
    """Time a case. `work` is its name, with its sizes.

    All contenders are called once, which compiles, and then in turn for so many rounds. The limits
    are measured in the same rounds, so that what slows down the machine slows down both.
    """
    contenders = {OURS: case.ours} | case.peers
    known = limits(case)
    yardsticks = {(name, lib): c for name, libs in known.items() for lib, c in libs.items()}
    for contender in (*contenders.values(), *yardsticks.values()):
        contender()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    speeds: dict[tuple[str, str], list[float]] = {name: [] for name in yardsticks}
    gc.collect()
    for repeat in range(rounds if case.rounds is None else case.rounds):
        # Whoever is first in a round may pay for what the one before left in the caches.
        for name in _rotated(list(contenders), repeat):
            wall, cpu = _timed(contenders[name])
            seconds[name].append(wall)
            processor[name].append(cpu)
        for name, contender in yardsticks.items():
            speeds[name].append(1 / _timed(contender)[0])
    fastest = {name: _fastest([speeds[name, lib] for lib in libs]) for name, libs in known.items()}
    return Measured(work, seconds, processor, fastest, case.flops, case.traffic)


def _timed(contender: Contender) -> tuple[float, float]:
    began, worked = time.perf_counter(), time.process_time()
    contender()
    wall, cpu = time.perf_counter() - began, time.process_time() - worked
    return wall / contender.units, cpu / contender.units


def _rotated(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]


def _fastest(speeds: list[list[float]]) -> list[float]:
    return max(speeds, key=lambda own: float(np.median(own)))
