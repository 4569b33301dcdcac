"""The comparison of signs as text."""

import numpy as np

from ..measures._align import align
from ._ranking import PredictorRanking, RankedSign
from .statistics._bootstrap import Estimate


NOTE = (
    "Rank: by tau-b within runs; signs whose difference may be 0 are tied. Marks: what the sign "
    "claims, then what the tuning seeds say (+ higher is better, - lower, . neither); * needs no "
    "diagnostic. p: of the correlation across seeds, by exchanged seeds."
)
_ARROWS = {"higher": "+", "lower": "-", "neither": "."}


def predictors_table(ranking: PredictorRanking) -> str:
    """The result of `rank_predictors` as aligned text, with its protocol.

    ```python
    print(studies.predictors_table(studies.rank_predictors("runs/digits")))
    ```
    """
    parts = [
        ranking.protocol.text,
        "Kendall's tau-b with the outcome [95 % bootstrap interval over seeds]",
        align(correlations_rows(ranking)),
        NOTE,
        "Falls of the sign and of the outcome (rank test), and reaching 0.8 of a fresh network",
        align(warnings_rows(ranking)),
        _coverage(ranking),
    ]
    missing = "\n".join(f"Missing: {message}" for message in ranking.messages)
    return "\n\n".join([*parts, *([missing] if missing else [])])


def correlations_rows(ranking: PredictorRanking) -> list[list[str]]:
    """The names of the columns, and the correlations of each sign."""
    names = ["rank", "sign", "", "within runs", "given trivial", "algorithms", "seeds", "p", "Holm"]
    return [names, *map(_correlations, ranking.signs)]


def warnings_rows(ranking: PredictorRanking) -> list[list[str]]:
    """The names of the columns, and how each sign warns of a fall, and at which cost."""
    names = ["sign", "lead", "warned", "false alarms", "ROC area", "right", "threshold", "cost"]
    return [names, *map(_warnings, ranking.signs)]


def _correlations(sign: RankedSign) -> list[str]:
    levels = (sign.within, sign.partial, sign.across_algorithms, sign.across_seeds)
    marks = _ARROWS[sign.claimed] + _ARROWS[sign.observed] + ("*" if sign.trivial else "")
    rank = "-" if sign.rank is None else str(sign.rank)
    p_values = [_number(p, digits=2) for p in (sign.p_value, sign.holm)]
    return [rank, _name(sign), marks, *map(_interval, levels), *p_values]


def _warnings(sign: RankedSign) -> list[str]:
    return [
        _name(sign),
        _interval(sign.lead),
        _fraction(sign.both, sign.falling),
        _fraction(sign.false_alarms, sign.steady),
        _interval(sign.roc),
        _number(sign.right, digits=2),
        _number(sign.threshold),
        "" if sign.cost is None else _number(sign.cost),
    ]


def _coverage(ranking: PredictorRanking) -> str:
    algorithms = {line.algorithm for line in ranking.coverage}
    grouped: dict[tuple[str, ...], list[str]] = {}
    for line in ranking.coverage:
        if line.missing:
            measured = f"{line.measured} of {line.possible}"
            grouped.setdefault((line.sign, measured, line.missing), []).append(line.algorithm)
    rows = [
        [sign, "all" if len(own) == len(algorithms) else ", ".join(own), measured, missing]
        for (sign, measured, missing), own in grouped.items()
    ]
    if not rows:
        return "Coverage: every sign was measured at every checkpoint, and varies."
    table = align([["sign", "algorithms", "measured", "missing"], *rows])
    return f"Coverage: signs that were not measured everywhere, or do not vary\n\n{table}"


def _name(sign: RankedSign) -> str:
    return sign.name if sign.when == "start" else f"{sign.name} ({sign.when})"


def _interval(estimate: Estimate) -> str:
    text = _number(estimate.value, digits=2)
    if np.isnan(estimate.low):
        return text
    return f"{text} [{_number(estimate.low, digits=2)}, {_number(estimate.high, digits=2)}]"


def _fraction(count: int, total: int) -> str:
    return f"{count} of {total}" if total else "-"


def _number(value: float, *, digits: int = 3) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}g}"
