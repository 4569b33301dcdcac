"""What has changed between two files of `make bench`, beyond noise.

    python benchmarks/timing/compare.py OLD NEW

A work has changed if two pairs of intervals do not overlap: those of the median time of this
library, and, if both files have a peer of it, those of the median ratio to the first such peer. The
second pair leaves out what slowed down or sped up the whole machine. With seven rounds an interval
contains its median with a probability of at least 98 %.
"""

import argparse
import pathlib
import sys


sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # as for the scripts beside this folder

import numpy as np  # noqa: E402

from timing.interval import Interval, of_median  # noqa: E402
from timing.record import load  # noqa: E402
from timing.report import time  # noqa: E402
from timing.runner import Measured, OURS  # noqa: E402


def apart(a: Interval, b: Interval) -> bool:
    """Whether two intervals do not overlap."""
    return a.upper < b.lower or b.upper < a.lower


def verdict(old: Measured, new: Measured) -> tuple[str, float]:
    """`"faster"`, `"slower"` or `"same"`, and the new median time divided by the old one."""
    before, now = (of_median(case.seconds[OURS]) for case in (old, new))
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What has changed between two files.")
    parser.add_argument("old", type=pathlib.Path, metavar="OLD")
    parser.add_argument("new", type=pathlib.Path, metavar="NEW")
    given = parser.parse_args()
    for path in (given.old, given.new):
        if not path.is_file():
            parser.error(f"{str(path)!r} is not a file: name a file that `make bench` has written")
    print(comparison(given.old, given.new))
