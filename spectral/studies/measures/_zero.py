"""Where a 0 is drawn on a logarithmic axis."""

from collections.abc import Iterable

import numpy as np

from ._measure import Measure


def place_of_zero(drawn: Iterable[Measure]) -> float:
    """The height at which a 0 is drawn: the smallest value above 0 that could have been recorded.

    For a fraction of eigenvalues this is 1 / dimension. If the run has not recorded it, it is the
    smallest number above 0 among the values and their bounds; 1 if there is none.
    """
    drawn = list(drawn)
    recorded = [measure.bounds["smallest"] for measure in drawn if "smallest" in measure.bounds]
    rows = recorded or [
        row
        for measure in drawn
        for row in (
            measure.series,
            *(measure.bounds[end] for end in ("lower", "upper") if end in measure.bounds),
        )
    ]
    values = np.concatenate(rows) if rows else np.empty(0)
    above = values[np.isfinite(values) & (values > 0)]
    return float(above.min()) if len(above) else 1.0
