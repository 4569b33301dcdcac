"""The colours and labels of the algorithms of a run, and the words that explain a figure."""

import textwrap
from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis._foremost import foremost
from ..analysis._labels import relabelled
from ..measures._interval import MIN_BAND_SEEDS
from ..runs._results import Results
from ._style import palette


_LETTER = 0.068  # the width of a letter of a legend, in inches
_NOTE_SIZE = 7.0  # of the letters of an explanation, in points


def colours(results: Results) -> dict[str, str]:
    """The colour of each algorithm, the same in all figures of a run."""
    algorithms = results.settings["algorithms"]
    return dict(zip(algorithms, palette(len(algorithms)), strict=True))


def label(results: Results, algorithm: str) -> str:
    """The name of an algorithm, and how many seeds finished if not all did."""
    seeds = results.settings["seeds"]
    done = len(results.of(algorithm, status="finished"))
    diverged = len(results.of(algorithm, status="diverged"))
    why = f", {diverged} diverged" if diverged else ""
    return algorithm if done == seeds else f"{algorithm} ({done} of {seeds} seeds{why})"


def few(results: Results) -> tuple[Results, str]:
    """The results of the algorithms that are drawn, under the names that figures show, and a
    sentence if they are not all."""
    shown, count = foremost(results), len(results.settings["algorithms"])
    note = f"{len(shown)} of {count} algorithms: selected cells first, then by performance."
    return relabelled(results, shown), "" if len(shown) == count else note


def about_means(results: Results) -> str:
    """Over how many seeds the lines of means are; empty if none finished."""
    counts = _counts(results)
    if not counts:
        return ""
    if counts == [1]:
        return "Lines: one seed."
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"Thick lines: means over {span} seeds."


def about_seeds(results: Results) -> str:
    """What lines and bands are, and over how many seeds."""
    counts = _counts(results)
    words = [about_means(results)]
    if any(1 < count < MIN_BAND_SEEDS for count in counts):
        words.append("Thin lines: the seeds.")
    if any(count >= MIN_BAND_SEEDS for count in counts):
        words.append("Bands: 95 % confidence intervals of the means (Student's t).")
    return " ".join(words)


def _counts(results: Results) -> list[int]:
    """The different numbers of seeds that finished."""
    return sorted({len(members) for members in results.finished.values()})


def draw_legend(
    figure: Figure, shades: Mapping[str, str], *, handles: tuple[Artist, ...] = ()
) -> None:
    """Draw a legend above the panels: a line of each colour by its label, then `handles`.

    Labels may begin with an underscore, which Matplotlib leaves out if it collects them itself.
    """
    lines = [Line2D([], [], color=shade) for shade in shades.values()]
    names = [*shades, *(str(handle.get_label()) for handle in handles)]
    width = 0.45 + _LETTER * max(map(len, names), default=1)
    columns = min(max(1, int(figure.get_figwidth() / width)), len(names), 5)
    placed = [str(index) for index in range(len(names))]
    legend = figure.legend([*lines, *handles], placed, loc="outside upper center", ncols=columns)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def explain(figure: Figure, *sentences: str, axis: str = "") -> None:
    """Write sentences below the panels, under the label of a common axis if there is one."""
    letters = int(figure.get_figwidth() * 72 / (0.55 * _NOTE_SIZE))
    lines = textwrap.wrap(" ".join(filter(None, sentences)), letters)
    figure.supxlabel("\n".join(filter(None, [axis, *lines])), fontsize=_NOTE_SIZE + bool(axis))


def guessing() -> Line2D:
    """The entry of a legend for the line of guessing."""
    return Line2D([], [], color="0.5", lw=0.8, ls=":", label="guessing")


def zeros() -> Line2D:
    """The entry of a legend for ranks of 0 on a logarithmic axis."""
    return Line2D([], [], color="0.3", marker="v", mfc="none", ms=4, ls="", label="0 (at 1 / dim)")
