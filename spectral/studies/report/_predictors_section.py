"""The section of the report on signs as predictors."""

from collections.abc import Sequence
from typing import Any

from ..predictors._rank_predictors import rank_results
from ..predictors._signs_of import has_outcome
from ..predictors._text import correlations_rows, NOTE, warnings_rows
from ..runs._results import Results


def predictor_tables(results: Sequence[Results]) -> list[dict[str, Any]]:
    """The tables of the signs of these runs: a title, a note, and rows of cells, of which the first
    has the names. None if the runs have not recorded a trainability, or none has finished."""
    known = [result for result in results if result.finished]
    if not has_outcome(known):
        return []
    ranking = rank_results(known)
    missing = " ".join(ranking.messages)
    protocol = ranking.protocol.text.replace("\n", " ")
    return [
        {
            "title": "Signs as predictors: Kendall's tau-b with the outcome",
            "note": f"{protocol} {NOTE} {missing}".strip(),
            "rows": correlations_rows(ranking),
        },
        {
            "title": "Signs as predictors: warnings",
            "note": "Falls of the sign and of the outcome, by a rank test, and reaching 0.8 of a "
            "fresh network. Lead times are in tasks, costs in gradient evaluations.",
            "rows": warnings_rows(ranking),
        },
    ]
