"""What has changed between two files of measurements, beyond noise."""

import pathlib

import numpy as np

from timing.interval import Interval, of_median
from timing.record import load
from timing.report import time
from timing.runner import Measured, OURS


_LEVEL = 0.9  # of five rounds and more


def apart(a: Interval, b: Interval) -> bool:
    """Whether two intervals do not overlap."""
    return a.upper < b.lower or b.upper < a.lower


def verdict(old: Measured, new: Measured) -> tuple[str, float]:
    """`"faster"`, `"slower"` or `"same"`, and the new median time divided by the old one.

    It is `"unsure"` where an interval contains the median with a probability of less than 0.9.
    """
    before, now = (of_median(case.seconds[OURS]) for case in (old, new))
    if min(before.level, now.level) < _LEVEL:
        return "unsure", now.middle / before.middle
    changed = apart(before, now)
    shared = [peer for peer in old.seconds if peer != OURS and peer in new.seconds]
    if changed and shared:
        relative = [
            of_median(np.divide(case.seconds[OURS], case.seconds[shared[0]]).tolist())
            for case in (old, new)
        ]
        same_way = (relative[1].middle < relative[0].middle) == (now.middle < before.middle)
        changed = apart(*relative) and same_way
    how = "same" if not changed else "faster" if now.middle < before.middle else "slower"
    return how, now.middle / before.middle


def comparison(old: pathlib.Path, new: pathlib.Path) -> str:
    """Each work that both files have, and those that only one has."""
    (about_old, cases_old), (about_new, cases_new) = load(old), load(new)
    lines = []
    for name in ("processor", "cores", "device"):
        a, b = about_old["machine"][name], about_new["machine"][name]
        if a != b:
            lines.append(f"The machines differ: {name} is {a!r} in {old} and {b!r} in {new}.")
    for name in sorted(about_old["versions"].keys() | about_new["versions"].keys()):
        a, b = about_old["versions"].get(name), about_new["versions"].get(name)
        if a != b:
            lines.append(f"{name}: {a} -> {b}")
    before, now = ({case.name: case for case in cases} for cases in (cases_old, cases_new))
    shared = [name for name in now if name in before]
    width = max(map(len, shared), default=0)
    for name in shared:
        how, ratio = verdict(before[name], now[name])
        times = (time(float(np.median(c[name].seconds[OURS]))) for c in (before, now))
        lines.append(f"{name:{width}s}  {how:7s}{' -> '.join(times)}, {ratio:.2f} times")
    lines += [f"only in {old}: {name}" for name in before if name not in now]
    lines += [f"only in {new}: {name}" for name in now if name not in before]
    return "\n".join(lines)
