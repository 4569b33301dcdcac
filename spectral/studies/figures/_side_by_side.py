"""Figures of several runs."""

import pathlib
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..._arguments import unknown_name
from ..experiment._settings import SettingsError
from ..runs._folder import Results
from ._lines import draw_measure, measured, PERFORMANCE, UNITS
from ._panels import COLOURS, finished, label, save_figures


_RESULTS = (*PERFORMANCE, "episode return")  # the first that was measured is drawn


def draw_side_by_side(
    runs: Sequence[Results],
    folder: pathlib.Path,
    *,
    only: Sequence[str] | None = None,
    smooth: int | None = None,
) -> list[pathlib.Path]:
    """Draw several runs, such as one of each benchmark, in one figure, as PNG and PDF.

    - `performance`: a panel for each run, with its accuracy, or else its online accuracy or the
      returns of its episodes (paper, Figure 3);
    - `units`: a column for each run, with dead units above and the smallest effective rank of the
      layers below (Figure 6).

    Lines and bands are those of `draw_figures`. An algorithm is known by its name, and has one
    colour in all panels; where not all of its seeds finished, the title of the panel says so.

    **Arguments:**

    - `runs`: from `load_results`.
    - `folder`: into which the files are written.
    - `only`, `smooth`: see `draw_figures`.

    **Returns:** the files that were written.

    **Raises:** `SettingsError` for a figure that does not exist, if a run has no accuracies or
    returns, or if no run has anything that could be drawn.
    """
    drawings: dict[str, Callable[[], Figure | None]] = {
        "performance": lambda: _columns(runs, [[_result(run) for run in runs]], smooth),
        "units": lambda: _columns(runs, [[name] * len(runs) for name in UNITS], None),
    }
    for name in only or ():
        if name not in drawings:
            raise SettingsError(unknown_name("`--only`: Figure of several runs", name, drawings))
    files = save_figures({name: drawings[name] for name in only or drawings}, folder)
    if not files:
        raise SettingsError(
            f"Nothing in these runs can be drawn as {', '.join(only or drawings)}: no training run "
            "that finished has recorded it. Wait until more have, or choose other figures."
        )
    return files


def _result(run: Results) -> str:
    known = measured(run)
    for name in _RESULTS:
        if name in known:
            return name
    raise SettingsError(
        f"Nothing in {str(run.folder)!r} can be drawn as performance: none of its training runs "
        "that finished has recorded accuracies or returns. Leave it out, or wait until more have."
    )


def _columns(runs: Sequence[Results], rows: list[list[str]], smooth: int | None) -> Figure | None:
    """A column for each run. Rows that no run has measured are left out."""
    known = [measured(run) for run in runs]
    rows = [r for r in rows if any(n in k for n, k in zip(r, known, strict=True))]
    if not rows:
        return None
    names = list(dict.fromkeys(name for run in runs for name, _ in finished(run)))
    shades = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    figure = Figure(figsize=(2.7 * len(runs), 2.4 * len(rows) + 0.5), layout="constrained")
    for row, panels in zip(rows, figure.subplots(len(rows), len(runs), squeeze=False), strict=True):
        for run, name, axes in zip(runs, row, panels, strict=True):
            draw_measure(axes, run, name, shades, smooth if name in PERFORMANCE else None)
            some = [label(run, a) for a, _ in finished(run) if label(run, a) != a]
            axes.set_title("\n".join([run.folder.name, *some]))
    lines = [Line2D([], [], color=shade, label=name) for name, shade in shades.items()]
    figure.legend(handles=lines, loc="outside upper center", ncols=5)
    return figure
