"""The recorded signs of a run folder, and the outcome that they predict."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..._arguments import unknown_name
from ..._base._quantity import Quantity
from ..experiment._settings import SettingsError
from ..measures._measure import measured_columns, part_of, PERFORMANCE
from ..runs._results import Results
from ._protocol import PredictorProtocol


TRAINABILITY = "trainability"  # the figure of the quantities that are an outcome
_BALANCED = "balanced_"


def known_quantities(results: Sequence[Results]) -> dict[str, Quantity]:
    """What the recorded columns of several folders are, the main ones first."""
    found: dict[str, Quantity] = {}
    for result in results:
        for member in result.members:
            own = member.history.quantities.items()
            found |= {c: q for c, q in own if c in member.history and c not in found}
    return found


def has_outcome(results: Sequence[Results]) -> bool:
    """Whether a trainability was recorded, which is the default outcome."""
    return _trainability(known_quantities(results)) is not None


def outcome_of(quantities: Mapping[str, Quantity], given: str | None) -> str:
    """The column of the outcome: the given one, or the first that is a trainability.

    **Raises:** `SettingsError` if the column was not recorded, if none is a trainability, or if
    its quantity does not say which end is better.
    """
    if given is None:
        given = _trainability(quantities)
        if given is None:
            raise SettingsError(
                "These runs have not recorded an outcome: add the probe `Trainability` to the "
                "experiment and run it again, or name a recorded column that says how well a "
                f"task was learnt with `--outcome`, one of {', '.join(_outcomes(quantities)[:5])}."
            )
    if given not in quantities:
        raise SettingsError(unknown_name("`--outcome`: Column", given, quantities))
    if quantities[given].better is None:
        raise SettingsError(
            f"`--outcome` is {given!r}, but its quantity does not say whether higher or lower "
            "values are better: name a column that does, or declare `better` in `quantities()`."
        )
    return given


def ratio_of(quantities: Mapping[str, Quantity], outcome: str) -> str | None:
    """The column of the same part that is relative to a fresh network: `own_ratio` beside
    `own_excess`; `None` if there is none."""
    column = f"{outcome.rpartition('_')[0]}_ratio"
    return column if column in quantities else None


def sign_columns(
    results: Sequence[Results], quantities: Mapping[str, Quantity], protocol: PredictorProtocol
) -> dict[str, str]:
    """The columns that are compared, by the name of the sign.

    The other columns of the part that recorded the outcome are forms of the outcome, and no sign.
    """
    outcome = outcome_of(quantities, protocol.outcome)
    columns = {c: q for c, q in quantities.items() if part_of(c) != part_of(outcome)}
    last = {column: column.rpartition(".")[2] for column in columns}
    twins = {name.removeprefix(_BALANCED) for name in last.values() if name.startswith(_BALANCED)}
    for column, name in last.items():
        raw = not name.startswith(_BALANCED)
        epsilon = epsilon_of(results, column)
        other = protocol.epsilon is not None and epsilon not in (None, protocol.epsilon)
        if other or (not raw if protocol.variant == "raw" else name in twins):
            del columns[column]
    return measured_columns(columns)


def epsilon_of(results: Sequence[Results], column: str) -> float | None:
    """The `epsilon` in the settings of the probe that recorded a column, also of a probe inside
    it."""
    return _setting(_settings(results, column), "epsilon")


def budget_of(results: Sequence[Results], column: str) -> int | None:
    """The `budget` in the settings of the probe that recorded a column."""
    return _setting(_settings(results, column), "budget")


def _settings(results: Sequence[Results], column: str) -> Any:
    part = part_of(column)
    known = (result.settings.get("probes") or {} for result in results)
    return next((probes[part] for probes in known if part in probes), None)


def _setting(settings: Any, name: str) -> Any:
    if not isinstance(settings, Mapping):
        return None
    if name in settings:
        return settings[name]
    inner = (_setting(value, name) for value in settings.values())
    return next((value for value in inner if value is not None), None)


def _trainability(quantities: Mapping[str, Quantity]) -> str | None:
    known = (c for c, q in quantities.items() if q.figure == TRAINABILITY and q.better)
    return next(known, None)


def _outcomes(quantities: Mapping[str, Quantity]) -> list[str]:
    """The columns that say which end is better, those of performance first."""
    known = [column for column, quantity in quantities.items() if quantity.better]
    return sorted(known, key=lambda c: quantities[c].figure != PERFORMANCE)
