"""Times of whole tasks from times of a part of them."""

import time
from collections.abc import Callable
from typing import Any

import jax


# A segment doubles until it takes so long.
_ENOUGH = 1.0


def seconds_of(call: Callable[..., Any], *arguments: Any) -> float:
    """The seconds on the clock that a call takes, until its results are there."""
    began = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - began


def seconds_of_task(
    timed: Callable[[int, int], float], chunks: int, minibatches: int, *, enough: float = _ENOUGH
) -> float:
    """The seconds that a task of `chunks` chunks of `minibatches` steps takes.

    `timed(c, s)` returns the seconds of the first `s` steps of `c` chunks. The number of steps of
    one chunk doubles until it is whole, and then the number of chunks, and the doubling ends when
    it takes `enough` seconds. The rest costs as much for each step or chunk as the last doubling
    did.
    """
    chunk, whole = _doubled(lambda s: timed(1, s), minibatches, enough)
    if not whole:
        # Each chunk also collects its data, which a call without steps does once.
        return chunks * chunk
    return _doubled(lambda c: timed(c, minibatches), chunks, enough)[0]


def _doubled(timed: Callable[[int], float], total: int, enough: float) -> tuple[float, bool]:
    """The seconds for `total`, and whether they were measured and were few."""
    timed(0)  # what only a first call does
    before = 0, timed(0)
    count, seconds = 1, timed(1)
    while count < total and seconds < enough:
        before = count, seconds
        count = min(2 * count, total)
        seconds = timed(count)
    each = max(0.0, seconds - before[1]) / (count - before[0])
    return seconds + each * (total - count), count == total and seconds < enough
