"""Where a 0 is drawn on a logarithmic axis."""

from collections.abc import Iterable, Sequence

import numpy as np

from ._measure import Measure


def place_of_zero(smallest: Sequence[np.ndarray], drawn: Sequence[np.ndarray]) -> float:
    """The height at which a 0 is drawn: the smallest possible value above 0.

    **Arguments:**

    - `smallest`: what runs have recorded as the smallest possible value, such as 1 / dimension for
      a fraction of eigenvalues.
    - `drawn`: all that is drawn. If nothing was recorded, it is the smallest number above 0 of
      these; 1 if there is none.
    """
    for rows in (smallest, drawn):
        values = np.concatenate([np.ravel(row) for row in rows]) if rows else np.empty(0)
        above = values[np.isfinite(values) & (values > 0)]
        if len(above):
            return float(above.min())
    return 1.0


def zero_of(drawn: Iterable[Measure]) -> float:
    """`place_of_zero` for measures with their bounds."""
    drawn = list(drawn)
    ends = [m.bounds[end] for m in drawn for end in ("lower", "upper") if end in m.bounds]
    smallest = [m.bounds["smallest"] for m in drawn if "smallest" in m.bounds]
    return place_of_zero(smallest, [*(m.series for m in drawn), *ends])
