"""Settings of an object, checked against the signature of its constructor."""

import inspect
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, NamedTuple

from beartype.door import is_bearable

from ..._arguments import unknown_name
from ._call import Call, POSITIONAL, Reference
from ._constructors import (
    alternatives,
    constructors,
    describe,
    further_named,
    makers,
    parameters,
    positional,
)
from ._numbers import check_number, same_number
from ._own_parts import exists, is_own, own_object
from ._roles import check_constructor, may_be_called, own_role
from ._settings import SettingsError


# Passed by the experiment when it makes the object, never by settings.
NOT_IN_SETTINGS = {"key"}


def parse(
    section: Any,
    wanted: Any,
    where: str,
    supplied: Mapping[str, Any],
    *,
    folders: tuple[pathlib.Path, ...] = (),
) -> Call:
    """Check a mapping with a `type` and arguments, and everything nested in it.

    **Arguments:**

    - `section`: the mapping. `args` is a list of arguments by position.
    - `wanted`: the class or annotation that the object must fit.
    - `where`: the dotted path of the section, for messages.
    - `supplied`: values of arguments that the section does not give, if the constructor has them.
    - `folders`: where modules of the form `package.module:Name` are also looked for.

    **Raises:** `SettingsError` with the path if a constructor or an argument does not exist, if an
    argument is missing, or if a value does not have the type in the signature.
    """
    return _Parser(supplied, folders).call(section, wanted, where)


def parse_value(value: Any, annotation: Any, where: str) -> Any:
    """Check one value against an annotation. Integers become floats where these are wanted.

    **Raises:** `SettingsError` with the path.
    """
    return _Parser({}, ()).value(value, annotation, where)


class _Parser(NamedTuple):
    supplied: Mapping[str, Any]
    folders: tuple[pathlib.Path, ...]

    def call(self, section: Any, wanted: Any, where: str) -> Call:
        if not isinstance(section, Mapping) or "type" not in section:
            raise _wrong(where, section, describe(wanted))
        name = section["type"]
        options_of = makers(wanted).get(name) if isinstance(name, str) else None
        uncalled = options_of is not None
        constructor = options_of if uncalled else self.constructor(name, wanted, where)
        allowed = {n: p for n, p in parameters(constructor).items() if n not in NOT_IN_SETTINGS}
        if uncalled:  # whoever calls it gives what has no default
            allowed = {n: p for n, p in allowed.items() if p.default is not p.empty}
        by_position = () if uncalled or POSITIONAL in allowed else section.get(POSITIONAL, ())
        placed = self.positional(by_position, constructor, where)
        own = {n: v for n, v in section.items() if n != "type"}
        if POSITIONAL not in allowed and not uncalled:
            own.pop(POSITIONAL, None)
        taken = list(parameters(constructor))[: len(placed)]
        given = {n: v for n, v in self.supplied.items() if n in allowed and n not in taken} | own
        annotations = {n: p.annotation for n, p in allowed.items()}
        if (further := further_named(constructor)) is not None:
            annotations = {n: further for n in given} | annotations
        for argument in given:
            if argument not in annotations:
                what = f"`{where}.{argument}`: Argument of {name}"
                raise SettingsError(unknown_name(what, str(argument), allowed))
            if argument in taken:
                raise SettingsError(
                    f"`{where}.{argument}` is given by name and by position, in `{POSITIONAL}`: "
                    "leave one out."
                )
        for argument, parameter in allowed.items():
            needed = parameter.default is inspect.Parameter.empty and argument not in taken
            if needed and argument not in given:
                raise SettingsError(
                    f"`{where}.{argument}` is missing, but {name} needs it: give "
                    f"{describe(parameter.annotation)}."
                )
        defaults = {n: p.default for n, p in allowed.items()}
        arguments = {
            n: v
            if same_number(v, defaults.get(n))  # a run records defaults, which may be infinite
            else self.value(v, annotations[n], f"{where}.{n}")
            for n, v in given.items()
        }
        role = own_role(wanted) if is_own(name) else Any
        return Call(
            where, name, constructor, arguments, positional=placed, role=role, uncalled=uncalled
        )

    def constructor(self, name: Any, wanted: Any, where: str) -> Callable[..., Any]:
        known = constructors(wanted)
        if isinstance(name, str) and name in known:
            return known[name]
        if not is_own(name):
            known = known | makers(wanted)
            raise SettingsError(unknown_name(f"`{where}.type`: Constructor", str(name), known))
        found = own_object(name, f"{where}.type", self.folders)
        check_constructor(found, name, wanted, where)
        return found

    def positional(self, given: Any, constructor: Any, where: str) -> tuple[Any, ...]:
        annotations, further = positional(constructor)
        if not isinstance(given, list | tuple):
            raise SettingsError(f"`{where}.{POSITIONAL}` is {given!r}, but must be a list.")
        if len(given) > len(annotations) and further is None:
            raise SettingsError(
                f"`{where}.{POSITIONAL}` has {len(given)} elements, but must have at most "
                f"{len(annotations)}: leave the others out, or pass them by name."
            )
        annotations = annotations + [further] * len(given)
        return tuple(
            self.value(v, a, f"{where}.{POSITIONAL}.{i}")
            for i, (v, a) in enumerate(zip(given, annotations, strict=False))
        )

    def value(self, value: Any, annotation: Any, where: str) -> Any:
        check_number(value, where)
        if isinstance(value, Mapping) and "type" in value:
            return self.call(value, annotation, where)
        if isinstance(value, Mapping) and is_bearable(value, annotation):
            return {n: self.value(v, Any, f"{where}.{n}") for n, v in value.items()}
        if isinstance(value, Mapping):
            return self.call(value, annotation, where)
        if isinstance(value, list):
            return self.elements(value, annotation, where)
        if isinstance(value, bool):
            if bool in alternatives(annotation) or annotation is Any:
                return value
        elif isinstance(value, str) and value in (known := makers(annotation)):
            return Reference(value, known[value])
        elif is_own(value) and may_be_called(annotation):
            text = is_bearable(value, annotation)
            if text and not exists(value, self.folders):
                return value
            try:
                return Reference(value, own_object(value, where, self.folders))
            except SettingsError as error:
                hint = " If it is meant as text, annotate the parameter as `str`." if text else ""
                raise SettingsError(f"{error}{hint}") from error
        elif is_bearable(value, annotation):
            return value
        elif isinstance(value, int) and is_bearable(float(value), annotation):
            return float(value)
        raise _wrong(where, value, describe(annotation))

    def elements(self, values: list[Any], annotation: Any, where: str) -> Any:
        for part in alternatives(annotation):
            element, *others = get_args(part) or (None,)
            if get_origin(part) is tuple and others == [...]:
                return tuple(self.value(v, element, f"{where}.{i}") for i, v in enumerate(values))
        plain = [self.value(v, Any, f"{where}.{i}") for i, v in enumerate(values)]
        for sequence in (plain, tuple(plain)):
            if is_bearable(sequence, annotation):
                return sequence
        raise _wrong(where, values, describe(annotation))


def _wrong(where: str, value: Any, allowed: str) -> SettingsError:
    return SettingsError(f"`{where}` is {value!r}, but must be {allowed}.")
