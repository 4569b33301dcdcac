"""Figures of several runs side by side."""

import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure

from ..experiment._settings import SettingsError
from ..measures._measure import PERFORMANCE
from ..runs._results import Results
from ._legend import about_seeds, draw_legend, explain, few, guessing, label
from ._lines import draw_measure, measured, of_figure
from ._style import choose, palette, save_figures


def draw_side_by_side(
    runs: Sequence[Results],
    folder: pathlib.Path,
    *,
    only: Sequence[str] | None = None,
    smooth: int | None = None,
) -> list[pathlib.Path]:
    """Draw several runs, such as one of each benchmark, in one figure, as PNG and PDF.

    - `performance`: a panel for each run with the first quantity that says how well its tasks were
      learned, such as the accuracy or the episode return (paper, Figure 3);
    - `units`: a column for each run, with the quantities of that figure, such as dead units and the
      smallest effective rank of the layers (Figure 6).

    Lines and bands are as in `draw_figures`. An algorithm is identified by its name (the cell
    of a grid by its settings), and has the same colour in all panels. The title of a panel names
    the algorithms with unfinished seeds.

    **Arguments:**

    - `runs`: from `load_results`.
    - `folder`: where the files are written.
    - `only`, `smooth`: as for `draw_figures`.

    **Returns:** the files that were written.

    **Raises:** `SettingsError` if a figure does not exist, if a run has recorded nothing
    about performance, or if there is nothing to draw.
    """
    runs, notes = zip(*(few(run) for run in runs), strict=True)
    drawings = {
        "performance": lambda: _columns(runs, [[_performance(run) for run in runs]], smooth, notes),
        "units": lambda: _columns(
            runs, [[name] * len(runs) for name in _units(runs)], smooth, notes
        ),
    }
    chosen = choose(drawings, only)
    files = save_figures(chosen, folder)
    if not files:
        raise SettingsError(
            f"These runs have nothing to draw as {', '.join(chosen)}: no finished training run has "
            "recorded it. Wait until more have finished, or choose other figures."
        )
    return files


def _performance(run: Results) -> str:
    if names := of_figure(run, PERFORMANCE):
        return names[0]
    raise SettingsError(
        f"{str(run.folder)!r} has nothing to draw as performance: none of its finished training "
        "runs has recorded such a quantity. Leave it out, or wait until more have finished."
    )


def _units(runs: Sequence[Results]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in of_figure(run, "units")))


def _columns(
    runs: Sequence[Results], rows: list[list[str]], smooth: int | None, notes: Sequence[str]
) -> Figure | None:
    """A column of panels for each run. Rows that no run has recorded are left out."""
    known = [measured(run) for run in runs]
    rows = [r for r in rows if any(n in k for n, k in zip(r, known, strict=True))]
    if not rows:
        return None
    names = list(dict.fromkeys(name for run in runs for name in run.finished))
    shades = dict(zip(names, palette(len(names)), strict=True))
    figure = Figure(figsize=(2.7 * len(runs), 2.4 * len(rows) + 0.7), layout="constrained")
    for row, panels in zip(rows, figure.subplots(len(rows), len(runs), squeeze=False), strict=True):
        for run, name, axes, own in zip(runs, row, panels, known, strict=True):
            if name in own:
                draw_measure(axes, run, name, shades, smooth)
            incomplete = [label(run, a) for a in run.finished if label(run, a) != a]
            axes.set_title("\n".join([run.folder.name, *incomplete]))
    guessed = any(
        name in own and own[name].guess is not None
        for row in rows
        for name, own in zip(row, known, strict=True)
    )
    draw_legend(figure, shades, handles=(guessing(),) if guessed else ())
    about = dict.fromkeys([*(about_seeds(run) for run in runs), *notes])
    explain(figure, *about)
    return figure
