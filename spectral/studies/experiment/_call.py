"""A constructor with its arguments: settings that have been checked, and can make an object."""

import dataclasses
import inspect
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import optax
from beartype.door import is_bearable
from jaxtyping import PRNGKeyArray

from ..._types import Optimiser
from ...algorithms import AbstractLearningRateSchedule
from ._constructors import alternatives, further_named, makers, parameters, product_of
from ._roles import is_optimiser, role_name
from ._settings import SettingsError


# The list of arguments by position, beside the named ones.
POSITIONAL = "args"


@dataclasses.dataclass(frozen=True)
class Call:
    """A constructor and its arguments from settings. Arguments may be calls themselves."""

    where: str  # the dotted path in the settings
    name: str
    constructor: Callable[..., Any]
    arguments: Mapping[str, Any]
    _: KW_ONLY
    positional: tuple[Any, ...] = ()
    role: Any = Any  # the annotation that the object must fit
    uncalled: bool = False  # the object is the constructor itself, with these options

    def make(self, **others: Any) -> Any:
        """Call the constructor, with those of the arguments `others` in addition that it has.

        With the argument `key`, nested constructors that need a key have keys of their own.

        **Raises:** `SettingsError` if the constructor rejects an argument, with its message and the
        path in the settings, or if it makes something of another role.
        """
        if further_named(self.constructor) is None:
            others = {n: v for n, v in others.items() if n in parameters(self.constructor)}
        key = others.get("key")
        arguments = {k: _made(v, key) for k, v in self.arguments.items()} | others
        try:
            made = self._build(_made(self.positional, key), arguments)
        except SettingsError:
            raise
        except (Exception, SystemExit) as error:  # of settings that nothing else has rejected
            # Add the path: "`lr` is 0, but ..." becomes "`algorithms.bp.lr` is 0, but ...".
            text = str(error)
            named = re.match(r"`(\w+)`", text)
            if named and named[1] in parameters(self.constructor):
                raise SettingsError(f"`{self.where}.{text[1:]}") from error
            told = isinstance(error, ValueError | OSError | ImportError)
            kind = "" if told else f"{type(error).__name__}: "
            raise SettingsError(f"In `{self.where}`: {kind}{text}") from error
        self._check_role(made)
        return made

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of this call, including all defaults that YAML can express.

        Those of an optax optimiser are left out: only numbers that are given become data.
        """
        plain = {
            n: _plain(p.default)
            for n, p in parameters(self.constructor).items()
            if _is_plain(p.default) or any(p.default is m for m in makers(p.annotation).values())
        }
        plain = {} if is_optimiser(self.constructor, self.role) else plain
        for used in list(parameters(self.constructor))[: len(self.positional)]:
            plain.pop(used, None)
        given = {POSITIONAL: _plain(self.positional)} if self.positional else {}
        own = {n: _plain(a) for n, a in self.arguments.items()}
        return {"type": self.name, **given, **plain} | own

    def _build(self, positional: tuple[Any, ...], arguments: dict[str, Any]) -> Any:
        if self.uncalled:  # a pytree, so that equal ones share a program
            return eqx.Partial(self.constructor, **arguments)
        # The numbers of an optax optimiser become data, so that the cells of a sweep share a
        # program.
        if not positional and is_optimiser(self.constructor, self.role):
            return Optimiser(self.constructor, **arguments)
        self._check_schedules(positional, arguments)
        return self.constructor(*positional, **arguments)

    def _check_schedules(self, positional: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        """Reject schedules that follow the clock of the loop where nothing sets their numbers."""
        product = product_of(self.constructor)
        if product is None or not issubclass(product, optax.GradientTransformation):
            return
        for given in (*positional, *arguments.values()):
            if isinstance(given, AbstractLearningRateSchedule):
                raise SettingsError(
                    f"`{self.where}` has the schedule {type(given).__name__}, which follows the "
                    "clock of the loop, but a part of a chain, and arguments by position, take a "
                    "number or a schedule of optax: pass `{type: optax:cosine_decay_schedule, "
                    "...}`, or give it by name to an optimiser outside of a chain."
                )

    def _check_role(self, made: Any) -> None:
        of_state = isinstance(made, tuple) and len(made) == 2  # `eqx.nn.make_with_state`
        if not (is_bearable(made, self.role) or (of_state and is_bearable(made[0], self.role))):
            schedule = callable(made) and Optimiser in alternatives(self.role)
            hint = (
                " A schedule is the `learning_rate` of an optimiser: for example "
                f"{{type: optax:sgd, learning_rate: {{type: {self.name}, ...}}}}."
            )
            raise SettingsError(
                f"`{self.where}.type` is {self.name!r}, which makes an object of the type "
                f"{type(made).__name__}, but must make {role_name(self.role)}."
                f"{hint if schedule else ''}"
            )


@dataclasses.dataclass(frozen=True)
class Reference:
    """A class or function that settings name without calling it."""

    name: str
    value: Any


def _made(value: Any, key: PRNGKeyArray | None) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_made(v, key) for v in value)
    if isinstance(value, dict):
        return {n: _made(v, key) for n, v in value.items()}
    if isinstance(value, Reference):
        return value.value
    return value.make(**_own_key(value, key)) if isinstance(value, Call) else value


def _own_key(call: Call, key: PRNGKeyArray | None) -> dict[str, PRNGKeyArray]:
    """The key of a nested call, which follows from its path; none if it needs none."""
    parameter = parameters(call.constructor).get("key")
    needed = parameter is not None and parameter.default is parameter.empty
    if key is None or call.uncalled or not needed:
        return {}
    return {"key": jax.random.fold_in(key, zlib.crc32(call.where.encode()))}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _plain(value: Any) -> Any:
    """A value as YAML can hold it."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {n: _plain(v) for n, v in value.items()}
    if isinstance(value, Reference):
        return value.name
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__name__
    return value.settings if isinstance(value, Call) else value
