"""The order of signs, and which of them are tied."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from ._bootstrap import Drawn, estimate


def ranks(
    within: Mapping[str, Drawn], present: Bool[np.ndarray, "algorithms seeds"]
) -> dict[str, int | None]:
    """The rank of each sign: one more than the number of signs that are better.

    One is better than another if its number is larger and the interval of the paired difference, of
    the same draws of seeds, does not contain 0. Without draws, if its number is larger. `None` for
    a sign without a number.
    """
    known = {name: drawn for name, drawn in within.items() if not np.isnan(drawn[0])}
    found: dict[str, int | None] = dict.fromkeys(within)
    for name, drawn in known.items():
        better = [_is_better(other, drawn, present) for other in known.values()]
        found[name] = 1 + sum(better)
    return found


def _is_better(one: Drawn, other: Drawn, present: Bool[np.ndarray, "algorithms seeds"]) -> bool:
    difference = estimate(one - other, present)
    if np.isnan(difference.low):
        return difference.value > 0
    return difference.low > 0
