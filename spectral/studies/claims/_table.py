"""The verdicts as one table of text."""

import numpy as np

from ..measures._align import align
from ._judge_all import Verdicts
from ._verdict import Verdict


def claims_table(verdicts: Verdicts) -> str:
    """The verdicts as aligned text: a line for each claim of a study that has finished runs, a line
    with the next command for each study, and what is missing.

    ```python
    print(studies.claims_table(studies.judge_claims("docs/results")))
    ```
    """
    rows = [["claim", "verdict", "number", "95 % interval", "claimed", "seeds", "why"]]
    for own in verdicts.studied:
        if own.runs:
            rows += [_row(verdict) for verdict in verdicts.of(own.study.name)]
    studies = [["study", "claims", "finished", "processors", "next unit"]]
    for own in verdicts.studied:
        finished = sum(map(len, own.runs.values()))
        count = str(len(verdicts.of(own.study.name)))
        studies.append([own.study.name, count, str(finished), own.processors, own.command])
    messages = [f"- {text}" for own in verdicts.studied for text in own.messages]
    parts = [counts(verdicts), align(rows), align(studies), "\n".join(messages)]
    return "\n\n".join(part for part in parts if part)


def counts(verdicts: Verdicts) -> str:
    """How many claims have which verdict, as a sentence."""
    names = ("confirmed", "refuted", "undecided", "not run")
    found = [sum(v.outcome == name for v in verdicts.verdicts) for name in names]
    told = ", ".join(f"{count} {name}" for count, name in zip(found, names, strict=True))
    return f"{len(verdicts.verdicts)} claims: {told}."


def cells(verdict: Verdict) -> tuple[str, str, str]:
    """The number, its interval and the number of seeds as text."""
    interval = f"[{number(verdict.low)}, {number(verdict.high)}]"
    interval = "-" if np.isnan(verdict.low) else interval
    return number(verdict.value), interval, f"{verdict.seeds} of {verdict.claim.seeds}"


def number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}"


def _row(verdict: Verdict) -> list[str]:
    value, interval, seeds = cells(verdict)
    claim = verdict.claim
    return [claim.name, verdict.outcome, value, interval, claim.says.text, seeds, verdict.reason]
