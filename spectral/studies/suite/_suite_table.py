"""The table of the suite, and how one algorithm compares with each of the others."""

from collections.abc import Sequence

import numpy as np

from ..measures._align import align
from ._aggregate import (
    bootstrap_interval,
    Estimate,
    interquartile_mean,
    probability_of_improvement,
)
from ._summary_file import SuiteSummary


def suite_table(summaries: Sequence[SuiteSummary], *, about: str | None = None) -> str:
    """The table of algorithms on the suite, the best first.

    Scores are interquartile means over seeds, and over seeds and streams in the column `all`, with
    95 % stratified bootstrap intervals: 0 is guessing, 1 a perfect learner.

    ```python
    found, messages = studies.suite_baselines(studies.load_suite("quick"), "announced")
    print(studies.suite_table(found))
    ```

    **Arguments:**

    - `summaries`: of one form and track.
    - `about`: the name of an algorithm that is compared with each of the others, as the probability
      that a run of it is better.
    """
    if not summaries:
        return "No algorithm has been scored yet."
    streams = list(summaries[0].streams)
    totals = [bootstrap_interval(interquartile_mean, s.scores) for s in summaries]
    order = sorted(range(len(summaries)), key=lambda i: -totals[i].value)
    rows = [["", "algorithm", "all", *streams, "trainability", "time", "memory"]]
    for place, i in enumerate(order, start=1):
        summary = summaries[i]
        columns = np.split(summary.scores, len(streams), axis=1)
        own = [_interval(bootstrap_interval(interquartile_mean, column)) for column in columns]
        known = [s.trainability for s in summary.streams.values() if s.trainability is not None]
        kept = f"{np.mean(known):.2f}" if known else "-"
        cost = f"{summary.time:.2f}", f"{summary.memory:.2f}"
        rows.append([f"{place}", summary.name, _interval(totals[i]), *own, kept, *cost])
    lines = [align(rows)]
    for summary in summaries:
        for stream, found in summary.streams.items():
            if found.diverged:
                lines.append(f"{summary.name} on {stream} diverged: {found.diverged}.")
    return "\n".join(lines) + _compared(summaries, about)


def _compared(summaries: Sequence[SuiteSummary], about: str | None) -> str:
    """The probability that a run of one algorithm is better than one of each of the others."""
    own = next((s for s in summaries if s.name == about), None)
    others = [s for s in summaries if s is not own]
    if own is None or not others:
        return ""
    lines = [["", "probability of improvement"]]
    for other in others:
        found = bootstrap_interval(probability_of_improvement, own.scores, other.scores)
        lines.append([f"{own.name} over {other.name}", _interval(found)])
    return f"\n\n{align(lines)}"


def _interval(found: Estimate) -> str:
    return f"{found.value:.2f} [{found.lower:.2f}, {found.upper:.2f}]"
