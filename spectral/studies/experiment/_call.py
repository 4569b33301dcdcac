"""A constructor with its arguments: settings that have been checked, and can make an object."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from beartype.door import is_bearable

from ..._arguments import unknown_name
from ._constructors import alternatives, constructors, describe, makers, parameters
from ._settings import SettingsError


# Passed by the experiment when it makes the object, never by settings.
NOT_IN_SETTINGS = {"key"}


@dataclasses.dataclass(frozen=True)
class Call:
    """A constructor and its arguments from settings. Arguments may be calls themselves."""

    where: str  # the dotted path in the settings
    name: str
    constructor: Callable[..., Any]
    arguments: Mapping[str, Any]

    def make(self, **others: Any) -> Any:
        """Call the constructor, with the arguments `others` in addition.

        **Raises:** `SettingsError` if the constructor rejects an argument, with its message and the
        path in the settings.
        """
        try:
            return self.constructor(**{k: _made(v) for k, v in self.arguments.items()}, **others)
        except SettingsError:
            raise
        except (ValueError, OSError, ImportError) as error:
            # Add the path: "`lr` is 0, but ..." becomes "`algorithms.bp.lr` is 0, but ...".
            text = str(error)
            named = re.match(r"`(\w+)`", text)
            if named and named[1] in parameters(self.constructor):
                raise SettingsError(f"`{self.where}.{text[1:]}") from error
            raise SettingsError(f"In `{self.where}`: {text}") from error

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of this call, including all defaults that YAML can express."""
        plain = {
            n: _plain(p.default)
            for n, p in parameters(self.constructor).items()
            if _is_plain(p.default) or p.default in makers(p.annotation).values()
        }
        return {"type": self.name, **plain} | {n: _plain(a) for n, a in self.arguments.items()}


def parse(section: Any, wanted: Any, where: str, supplied: Mapping[str, Any]) -> Call:
    """Check a mapping with a `type` and arguments, and everything nested in it.

    **Arguments:**

    - `section`: the mapping.
    - `wanted`: the class or annotation that the object must fit.
    - `where`: the dotted path of the section, for messages.
    - `supplied`: values of arguments that the section does not give, if the constructor has them.

    **Raises:** `SettingsError` with the path if a constructor or an argument does not exist, if an
    argument is missing, or if a value does not have the type in the signature.
    """
    known = constructors(wanted)
    if not isinstance(section, Mapping) or "type" not in section:
        raise _wrong(where, section, describe(wanted))
    name = section["type"]
    if not isinstance(name, str) or name not in known:
        raise SettingsError(unknown_name(f"`{where}.type`: Constructor", str(name), known))
    allowed = {n: p for n, p in parameters(known[name]).items() if n not in NOT_IN_SETTINGS}
    given = {n: v for n, v in supplied.items() if n in allowed}
    given |= {n: v for n, v in section.items() if n != "type"}
    for argument in given:
        if argument not in allowed:
            what = f"`{where}.{argument}`: Argument of {name}"
            raise SettingsError(unknown_name(what, str(argument), allowed))
    for argument, parameter in allowed.items():
        if parameter.default is inspect.Parameter.empty and argument not in given:
            raise SettingsError(
                f"`{where}.{argument}` is missing, but {name} needs it: give "
                f"{describe(parameter.annotation)}."
            )
    arguments = {
        n: _argument(v, allowed[n].annotation, f"{where}.{n}", supplied) for n, v in given.items()
    }
    return Call(where, name, known[name], arguments)


def _argument(value: Any, annotation: Any, where: str, supplied: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return parse(value, annotation, where, supplied)
    if isinstance(value, list):
        return _elements(value, annotation, where, supplied)
    if isinstance(value, bool):
        if bool in alternatives(annotation):
            return value
    elif isinstance(value, str) and value in (known := makers(annotation)):
        return known[value]
    elif is_bearable(value, annotation):
        return value
    elif isinstance(value, int) and is_bearable(float(value), annotation):
        return float(value)
    raise _wrong(where, value, describe(annotation))


def _elements(value: list[Any], annotation: Any, where: str, supplied: Mapping[str, Any]) -> Any:
    for part in alternatives(annotation):
        element, *others = get_args(part) or (None,)
        if get_origin(part) is tuple and others == [...]:
            return tuple(
                _argument(v, element, f"{where}.{i}", supplied) for i, v in enumerate(value)
            )
    raise _wrong(where, value, describe(annotation))


def _wrong(where: str, value: Any, allowed: str) -> SettingsError:
    return SettingsError(f"`{where}` is {value!r}, but must be {allowed}.")


def _made(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_made, value))
    return value.make() if isinstance(value, Call) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _plain(value: Any) -> Any:
    """A value as YAML can hold it."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__name__
    return value.settings if isinstance(value, Call) else value
