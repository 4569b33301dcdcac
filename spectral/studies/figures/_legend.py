"""The colour and the label of an algorithm in the figures of a run."""

from ..runs._results import Results
from ._style import COLOURS


def colour(results: Results, algorithm: str) -> str:
    """The colour of an algorithm, the same in all figures of a run."""
    return COLOURS[list(results.settings["algorithms"]).index(algorithm) % len(COLOURS)]


def label(results: Results, algorithm: str) -> str:
    """The name of an algorithm, and how many seeds finished if not all did."""
    seeds = results.settings["seeds"]
    done = len(results.of(algorithm, status="finished"))
    diverged = len(results.of(algorithm, status="diverged"))
    why = f", {diverged} diverged" if diverged else ""
    return algorithm if done == seeds else f"{algorithm} ({done} of {seeds} seeds{why})"
