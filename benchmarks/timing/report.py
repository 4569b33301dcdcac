"""The table of what was measured."""

from collections.abc import Iterable

import numpy as np

from timing.interval import of_median
from timing.runner import Measured, OURS


HEAD = ("work", "ours", "peer", "", "ratio", "interval", "limit", "reached", "processor")


def table(measured: Iterable[Measured]) -> str:
    """A line for each work and peer: the times, how many times as long the peer takes with the
    interval for the median of this ratio, what binds (bytes or operations) with its time, and the
    fraction of that limit which this library reaches.

    `processor` is the same ratio for the time of all threads together, which does not count the
    time for which other programs have the processor.
    """
    lines = [HEAD, *(line for case in measured for line in _lines(case))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def _lines(case: Measured) -> list[tuple[str, ...]]:
    ours = time(float(np.median(case.seconds[OURS])))
    limited = _limited(case)
    peers = [name for name in case.seconds if name != OURS]
    if not peers:
        return [(case.name, ours, "-", "", "", "", *limited, "")]
    lines = []
    for i, peer in enumerate(peers):
        found = of_median(np.divide(case.seconds[peer], case.seconds[OURS]).tolist())
        cpu = np.median(np.divide(case.processor[peer], np.maximum(case.processor[OURS], 1e-12)))
        own = (case.name, ours) if i == 0 else ("", "")
        spread = f"[{found.lower:.2f}, {found.upper:.2f}] {found.level:.0%}"
        theirs = time(float(np.median(case.seconds[peer])))
        ratio = f"{found.middle:.2f}"
        shown = limited if i == 0 else ("", "")
        lines.append((*own, peer, theirs, ratio, spread, *shown, f"{cpu:.2f}"))
    return lines


def limit(case: Measured) -> tuple[str, float, float] | None:
    """What binds, the seconds that it allows for one unit, and the fraction of it that is
    reached: the median over rounds."""
    needs = {"bandwidth": case.traffic, "product": case.flops}
    found = []
    for name, speeds in case.limits.items():
        if (need := needs[name]) is not None:
            allowed = need / np.asarray(speeds)
            reached = float(np.median(allowed / np.asarray(case.seconds[OURS])))
            found.append((name, float(np.median(allowed)), reached))
    return max(found, key=lambda known: known[1], default=None)


def _limited(case: Measured) -> tuple[str, str]:
    known = limit(case)
    return ("-", "") if known is None else (f"{known[0]} {time(known[1])}", f"{known[2]:.0%}")


def time(seconds: float) -> str:
    """A time with its unit."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError
