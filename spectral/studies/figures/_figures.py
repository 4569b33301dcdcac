"""The figures of a run."""

import functools
import os
import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure

from ..experiment._settings import SettingsError
from ..measures._measure import PERFORMANCE
from ..runs._results import load_results, Results
from ._curvature_figure import draw_curvature
from ._epsilon_rank_figure import draw_epsilon_rank
from ._legend import about_seeds, colours, draw_legend, explain, few, guessing, label
from ._lines import draw_measure, measured, of_figure
from ._returns_figure import draw_returns
from ._spectra_figure import draw_spectra
from ._style import choose, save_figures


_UNITS = "units"


def draw_figures(
    results: Results | str | os.PathLike[str],
    *,
    folder: pathlib.Path | None = None,
    only: Sequence[str] | None = None,
    smooth: int | None = None,
) -> list[pathlib.Path]:
    """Draw the figures of a run, as PNG and PDF.

    - `performance`: accuracy (or what else says how well a task was learned) over tasks (paper,
      Figure 3);
    - `returns`: episode returns over the steps of reinforcement learning, with the changes of the
      environment;
    - `units`: dead units and the smallest effective rank of the layers over tasks (Figure 6);
    - `overview`: both in one row (Figure 9);
    - one figure for each other `figure` that the recorded quantities name, such as `replacement`
      for the units that an algorithm has replaced, and `others`;
    - `normalised_epsilon_rank`: the fraction of large eigenvalues over tasks, with its rigorous
      bracket;
    - `curvature_accuracy`: performance against that fraction, with a linear fit, for the published
      estimator and for the quadrature (Figures 2, 7 and 8);
    - `hessian_spectra`: densities of the spectrum of the Hessian, for one seed of each algorithm,
      by increasing performance; those of further probes are black lines (Figures 10, 12 and 13).

    Lines are means over the seeds that finished. Bands are their 95 % confidence intervals
    (Student's t); with fewer than five seeds the seeds are drawn as thin lines in their place. With
    many tasks, each point is the mean over several tasks in a row. Each figure says so, and over
    how many seeds. Of more than 20 algorithms, 20 are drawn: the selected cells of a sweep, then
    those with the best performance. Figures without recorded data are left out.

    Algorithms that have the name of a recipe are named as publications do (`l2_er` is L2-ER), and
    the cells of a grid by their recipe and the settings in which they differ.

    **Arguments:**

    - `results`: the folder of a run, or what `load_results` has read there.
    - `folder`: where the files are written. By default the folder `figures` of the run.
    - `only`: the names of the figures to draw. By default all.
    - `smooth`: smooth the accuracies of each seed with a quadratic Savitzky-Golay filter over this
      many tasks. The figure says so.

    **Returns:** the files that were written.

    **Raises:** `SettingsError` if a figure does not exist, if the filter does not fit, or if there
    is nothing to draw.
    """
    results = results if isinstance(results, Results) else load_results(results)
    whole, (results, note) = results, few(results)
    drawings = {
        "performance": lambda: _over_tasks(results, [PERFORMANCE], smooth, note),
        "returns": lambda: draw_returns(results, note),
        "units": lambda: _over_tasks(results, [_UNITS], smooth, note),
        "overview": lambda: _overview(results, smooth, note),
        "normalised_epsilon_rank": lambda: draw_epsilon_rank(results, note),
        "curvature_accuracy": lambda: draw_curvature(results, note),
        "hessian_spectra": lambda: draw_spectra(results, note),
    }
    for name in {quantity.figure: None for quantity in measured(results).values()}:
        drawings.setdefault(name, functools.partial(_over_tasks, results, [name], smooth, note))
    chosen = choose(drawings, only)
    files = save_figures(chosen, folder or results.folder / "figures")
    if not files:
        done = sum(map(len, whole.finished.values()))
        total = len(whole.settings["algorithms"]) * whole.settings["seeds"]
        raise SettingsError(
            f"{str(results.folder)!r} has nothing to draw as {', '.join(chosen)}: {done} of "
            f"{total} training runs have finished, and figures show only those. Wait until more "
            "have finished, or choose other figures."
        )
    return files


def _overview(results: Results, smooth: int | None, note: str) -> Figure | None:
    if not of_figure(results, _UNITS):
        return None
    return _over_tasks(results, [PERFORMANCE, _UNITS], smooth, note)


def _over_tasks(
    results: Results, figures: Sequence[str], smooth: int | None, note: str
) -> Figure | None:
    """A row of panels, one for each measure of these figures, with a line for each algorithm."""
    names = [name for figure in figures for name in of_figure(results, figure)]
    if not names:
        return None
    figure = Figure(figsize=(3.5 * len(names), 3.1), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    shades, known = colours(results), measured(results)
    for axes, name in zip(panels, names, strict=True):
        draw_measure(axes, results, name, shades, smooth)
    guessed = any(known[name].guess is not None for name in names)
    labelled = {label(results, a): shades[a] for a in results.finished}
    draw_legend(figure, labelled, handles=(guessing(),) if guessed else ())
    explain(figure, about_seeds(results), note)
    return figure
