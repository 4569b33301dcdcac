"""How well signs predict, against what they cost."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..predictors._ranking import PredictorRanking, RankedSign
from ..predictors.statistics._bootstrap import Estimate
from ._legend import explain
from ._style import COLOURS, save_figures


def draw_predictors(
    ranking: PredictorRanking, *, folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
    """Draw the correlation of each sign with the outcome against its cost, as `predictors.png` and
    `predictors.pdf`.

    The panels are tau-b within runs and across seeds, with their intervals. Costs are gradient
    evaluations, on an axis that is logarithmic beyond 1. Signs of unknown cost have a column of
    their own on the right.

    ```python
    studies.draw_predictors(studies.rank_predictors("runs/digits"), folder="figures")
    ```

    **Returns:** the files that were written; none if no sign has a correlation.

    **Raises:** `SettingsError` if a file cannot be written.
    """
    return save_figures({"predictors": lambda: _draw(ranking)}, pathlib.Path(folder))


def _draw(ranking: PredictorRanking) -> Figure | None:
    known = [s for s in ranking.signs if s.rank is not None]
    if not known:
        return None
    figure = Figure(figsize=(7.5, 0.6 + max(3.0, 0.2 * len(known))), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = _places(known)
    titles = {"Within runs": "within", "Across seeds": "across_seeds"}
    for axes, (title, level) in zip(panels, titles.items(), strict=True):
        _draw_level(axes, known, [getattr(sign, level) for sign in known], places)
        axes.set_title(title)
        axes.set_xlabel("Cost (gradient evaluations)")
    panels[0].set_ylabel("Kendall's tau-b with the outcome")
    numbers = "; ".join(f"{i} {sign.name}" for i, sign in enumerate(known, start=1))
    explain(figure, f"{numbers}. Grey: needs no diagnostic. Bars: 95 % bootstrap over seeds.")
    return figure


def _draw_level(
    axes: Axes, signs: Sequence[RankedSign], levels: Sequence[Estimate], places: np.ndarray
) -> None:
    axes.axhline(0, color="0.8", lw=0.8)
    axes.set_xscale("symlog", linthresh=1.0)
    # Also where no sign has a number, which would leave a text outside of the panel.
    axes.set_xlim(-0.3, 3 * _unknown(signs))
    for i, (sign, level, place) in enumerate(zip(signs, levels, places, strict=True), start=1):
        if np.isnan(level.value):
            continue
        shade = "0.5" if sign.trivial else COLOURS[0]
        axes.plot(place, level.value, "o", ms=4, color=shade)
        axes.plot([place, place], [level.low, level.high], color=shade, lw=0.8)
        axes.annotate(str(i), (place, level.value), (4, 2), textcoords="offset points", fontsize=7)
    if any(sign.cost is None for sign in signs):
        axes.axvline(_unknown(signs) / 1.6, color="0.8", ls=":", lw=0.8)
        axes.annotate(
            "unknown", (_unknown(signs), 1.0), xycoords=("data", "axes fraction"), fontsize=7
        )


def _places(signs: Sequence[RankedSign]) -> np.ndarray:
    """Where the signs are drawn. Those at one cost are spread a little."""
    costs = [_unknown(signs) if sign.cost is None else sign.cost for sign in signs]
    spread = [0.04 * costs[:i].count(cost) for i, cost in enumerate(costs)]
    return np.array([cost + s * max(cost, 1.0) for cost, s in zip(costs, spread, strict=True)])


def _unknown(signs: Sequence[RankedSign]) -> float:
    return 3.0 * max([1.0, *(sign.cost for sign in signs if sign.cost is not None)])
