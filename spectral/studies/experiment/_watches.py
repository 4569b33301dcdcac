"""The watches of an experiment: warnings while it runs, when a column crosses a threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..._arguments import unknown_name
from ..._history import History
from ..._recorders import AbstractMeter
from ...recording import Watch
from ._constructors import describe, parameters
from ._experiment import Experiment
from ._parse import parse_value
from ._settings import SettingsError


# The section of an experiment file.
WATCH = "watch"
# The arguments of `Watch` that settings give. The run adds the others.
_OPTIONS = {n: p for n, p in parameters(Watch).items() if n not in ("bar", "names")}


def parse_watches(sections: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the arguments of each watch, with their defaults.

    **Raises:** `SettingsError` with the path for an argument that does not exist, is missing or has
    a wrong value.
    """
    return {name: _parsed(section, f"{WATCH}.{name}") for name, section in sections.items()}


def check_columns(experiment: Experiment) -> None:
    """**Raises:** `SettingsError` for a watch of a column that nothing records, or that is
    recorded without a quantity."""
    known = experiment.quantities
    owners = dict.fromkeys(column.partition(".")[0] for column in known if "." in column)
    for name, options in experiment.watches.items():
        column, where = options["column"], f"`{WATCH}.{name}.column`"
        owner, dot, _ = column.partition(".")
        if dot and owner not in owners:
            raise SettingsError(unknown_name(f"{where}: Probe", owner, owners))
        if column not in known:
            raise SettingsError(unknown_name(f"{where}: Recorded column", column, known, most=8))


def meters_of(experiment: Experiment, names: Sequence[str], bar: Any) -> list[AbstractMeter]:
    """Returns the watches of members with these names. The progress bar shows their warnings
    too."""
    return [_IfRecorded(Watch(**o, names=names, bar=bar)) for o in experiment.watches.values()]


class _IfRecorded(AbstractMeter):
    """A watch in a group of algorithms that may not record its column, as that of a transform."""

    def __init__(self, watch: Watch):
        self._watch = watch

    def update(self, done: int, total: int, history: History) -> None:
        if self._watch.column in history:
            self._watch.update(done, total, history)


def _parsed(section: Any, where: str) -> dict[str, Any]:
    if not isinstance(section, Mapping):
        raise SettingsError(
            f"`{where}` is {section!r}, but must be a mapping: give for example "
            "{column: dead.start.fraction, threshold: 0.3, direction: above}."
        )
    for argument in section:
        if argument not in _OPTIONS:
            what = f"`{where}.{argument}`: Argument of a watch"
            raise SettingsError(unknown_name(what, str(argument), _OPTIONS))
    found = {}
    for name, option in _OPTIONS.items():
        if name not in section and option.default is option.empty:
            raise SettingsError(
                f"`{where}.{name}` is missing, but every watch needs it: give "
                f"{describe(option.annotation)}."
            )
        value = section.get(name, option.default)
        found[name] = parse_value(value, option.annotation, f"{where}.{name}")
    try:
        Watch(**found)
    except ValueError as error:  # "`patience` is 0, ..." becomes "`watch.name.patience` is 0, ..."
        raise SettingsError(f"`{where}.{str(error)[1:]}") from error
    return found
