"""The algorithms of a run that are shown if there are too many for one picture."""

import numpy as np
import pandas as pd

from ..experiment._settings import SettingsError
from ..measures._measure import last_fifth, mean_measured, performance
from ..runs._results import Member, Results


MAX_SHOWN = 20  # algorithms in one picture


def foremost(results: Results) -> list[str]:
    """At most `MAX_SHOWN` algorithms of a run, in its order.

    First come the selected cells of a sweep, then the algorithms with the best performance over the
    last fifth of the tasks, then those without any.

    **Raises:** `SettingsError` if the table of a sweep is damaged.
    """
    names = list(results.settings["algorithms"])
    if len(names) <= MAX_SHOWN:
        return names
    selected, finished = selected_cells(results) or set(), results.finished
    levels = {a: np.mean([last_performance(m) for m in ms]) for a, ms in finished.items()}
    ranked = sorted(names, key=lambda a: (a not in selected, a not in levels, -levels.get(a, 0.0)))
    chosen = set(ranked[:MAX_SHOWN])
    return [name for name in names if name in chosen]


def last_performance(member: Member) -> float:
    """The mean performance over the last fifth of the tasks, its sign such that more is better; 0
    if there is none."""
    measure = performance(member.history)
    if measure is None:
        return 0.0
    level = mean_measured(last_fifth(measure.series))
    level = 0.0 if np.isnan(level) else level
    return -level if measure.quantity.better == "lower" else level


def selected_cells(results: Results) -> set[str] | None:
    """The best cells; `None` if the run is not a sweep or has not finished.

    **Raises:** `SettingsError` if the table of the sweep is damaged.
    """
    path = results.folder / "sweep.csv"
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path)
        return set(table.loc[table["selected"].astype(bool), "cell"])
    except (ValueError, KeyError) as error:
        raise SettingsError(
            f"{str(path)!r} is not the table of a sweep: {error}. Write it again with `spectral "
            "sweep --resume`."
        ) from error
