"""The score by which a sweep selects: a measure, and the tasks over which it is averaged."""

import dataclasses
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any

from ..._arguments import unknown_name
from ..._base._quantity import Quantity, Rows
from ..experiment._settings import SettingsError
from ..measures._measure import measured_columns, PERFORMANCE


OVER = ("all", "last")


@dataclasses.dataclass(frozen=True)
class Score:
    """The mean of a measure over tasks and seeds.

    The best cell has the highest score, or the lowest if lower values of the measure are better.

    - `measure`: such as `accuracy` or `online accuracy`, by its name in the table of a run.
    - `over`: `"all"` tasks or the `"last"` fifth.
    - `rows`: the rows on which it was measured, if it was measured on rows of one split.
    - `reported`: a measure on test rows that the table shows beside the score, if validation rows
      choose.

    **Raises:** `SettingsError` if `over` is neither `"all"` nor `"last"`.
    """

    measure: str
    over: str
    _: KW_ONLY
    rows: Rows | None = None
    reported: str | None = None

    def __post_init__(self):
        if self.over not in OVER:
            raise SettingsError(unknown_name("`over`: Choice", str(self.over), OVER))

    def __str__(self) -> str:
        tasks = "all tasks" if self.over == "all" else "the last fifth of the tasks"
        rows = "" if self.rows is None else f", on {self.rows} rows"
        return f"mean {self.measure} over {tasks} and seeds{rows}"


def check_score(settings: Mapping[str, Any]) -> None:
    """Check the section `score` of the settings of a sweep, which may be left out.

    **Raises:** `SettingsError` if the section is wrong.
    """
    given = settings.get("score", {})
    if not isinstance(given, Mapping) or not isinstance(given.get("measure", ""), str):
        raise SettingsError(
            f"`score` is {given!r}, but must be a mapping with the measure by which the sweep "
            "selects: for example `score: {measure: accuracy, over: all}`."
        )
    for name in given:
        if name not in ("measure", "over"):
            raise SettingsError(unknown_name(f"`score.{name}`: Name", name, ("measure", "over")))
    over = given.get("over", "all")
    if over not in OVER:
        raise SettingsError(unknown_name("`score.over`: Choice", str(over), OVER))


def score_of(settings: Mapping[str, Any], quantities: Mapping[str, Quantity]) -> Score:
    """The score of a sweep that records these quantities.

    Without a `measure` it is the first performance on validation rows, or else the first
    performance.

    **Raises:** `SettingsError` if the measure is not recorded, if it does not say which values are
    better, or if there is none.
    """
    given = settings.get("score", {})
    known = {name: quantities[column] for name, column in measured_columns(quantities).items()}
    learned = [name for name, quantity in known.items() if quantity.figure == PERFORMANCE]
    learned.sort(key=lambda name: known[name].rows != "validation")
    measure = given.get("measure", learned[0] if learned else None)
    if measure is None:
        raise SettingsError(
            "`score` is missing, and nothing that is recorded says how well a task was learned: "
            f"name a measure, `score: {{measure: ...}}`. Allowed: {', '.join(known)}."
        )
    check_measure(measure, known)
    rows = known[measure].rows
    tested = [name for name in learned if known[name].rows == "test"]
    reported = tested[0] if rows == "validation" and tested else None
    return Score(measure, given.get("over", "all"), rows=rows, reported=reported)


def check_recorded_score(score: Score, quantities: Mapping[str, Quantity]) -> None:
    """**Raises:** `SettingsError` if a sweep that records these quantities cannot select by the
    measures of a score."""
    known = {name: quantities[column] for name, column in measured_columns(quantities).items()}
    check_measure(score.measure, known)
    if score.reported is not None:
        _check_recorded(score.reported, known)


def check_measure(measure: str, known: Mapping[str, Quantity]) -> None:
    """**Raises:** `SettingsError` if the measure of a score is not among the `known` names, or if
    its quantity does not say which values are better."""
    _check_recorded(measure, known)
    if known[measure].better is None:
        raise SettingsError(
            f"`score.measure` is {measure!r}, which says neither that higher nor that lower is "
            "better: declare `better=` in its `Quantity`, or choose another measure."
        )


def _check_recorded(measure: str, known: Mapping[str, Quantity]) -> None:
    if measure not in known:
        raise SettingsError(unknown_name("`score.measure`: Measure", measure, known))
