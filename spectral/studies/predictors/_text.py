"""The comparison of signs as text."""

import numpy as np

from ..measures._align import align
from ._ranking import PredictorRanking, RankedSign
from .statistics._bootstrap import Estimate


_ARROWS = {"higher": "+", "lower": "-", "neither": "."}
_SHOWN = 40  # lines of the coverage


def predictors_table(ranking: PredictorRanking) -> str:
    """The result of `rank_predictors` as aligned text, with its protocol.

    ```python
    print(studies.predictors_table(studies.rank_predictors("runs/digits")))
    ```
    """
    signs = ranking.signs
    first = [
        ["rank", "sign", "", "within runs", "given trivial", "algorithms", "seeds", "p", "Holm"],
        *(_correlations(sign) for sign in signs),
    ]
    second = [
        [
            "sign",
            "lead (tasks)",
            "warned",
            "false alarms",
            "ROC area",
            "right",
            "threshold",
            "cost",
        ],
        *(_warnings(sign) for sign in signs),
    ]
    parts = [
        ranking.protocol.text,
        "Kendall's tau-b with the outcome [95 % bootstrap interval over seeds]",
        align(first),
        "Rank: by tau-b within runs. One rank for signs whose difference may be 0. Marks: what "
        "the sign claims and what the tuning seeds say (+ higher is better, - lower, . neither); "
        "* needs no diagnostic. p: of the correlation across seeds, by exchanged seeds.",
        "Falls of the sign and of the outcome (rank test), and reaching 0.8 of a fresh network",
        align(second),
        _coverage(ranking),
    ]
    missing = "\n".join(f"Missing: {message}" for message in ranking.messages)
    return "\n\n".join([*parts, *([missing] if missing else [])])


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
        f"{sign.both} of {sign.falling}",
        f"{sign.false_alarms} of {sign.steady}",
        _interval(sign.roc),
        _number(sign.right, digits=2),
        _number(sign.threshold),
        "" if sign.cost is None else _number(sign.cost),
    ]


def _coverage(ranking: PredictorRanking) -> str:
    rows = [
        [c.sign, c.algorithm, f"{c.measured} of {c.possible}", c.missing]
        for c in ranking.coverage
        if c.missing
    ]
    if not rows:
        return "Coverage: every sign was measured at every checkpoint of every run."
    shown = align([["sign", "algorithm", "measured", "missing"], *rows[:_SHOWN]])
    left = "" if len(rows) <= _SHOWN else f"\nand {len(rows) - _SHOWN} more lines"
    return f"Coverage: signs that were not measured everywhere, or do not vary\n\n{shown}{left}"


def _name(sign: RankedSign) -> str:
    return sign.name if sign.when == "start" else f"{sign.name} ({sign.when})"


def _interval(estimate: Estimate) -> str:
    text = _number(estimate.value, digits=2)
    if np.isnan(estimate.low):
        return text
    return f"{text} [{_number(estimate.low, digits=2)}, {_number(estimate.high, digits=2)}]"


def _number(value: float, *, digits: int = 3) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}g}"
