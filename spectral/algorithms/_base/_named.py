"""Layers and parameters that a user chooses by name."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from ..._arguments import unknown_name


# More names than these are not listed in a message.
_MOST = 20

Names = str | tuple[str, ...]


def as_names(argument: str, given: Names) -> tuple[str, ...]:
    """The names as a tuple.

    **Raises:** `ValueError` if there are none.
    """
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names:
        raise ValueError(
            f"`{argument}` is empty, but must have at least one name: give one, or '*' for all."
        )
    return names


def optional_names(argument: str, given: Names | None) -> tuple[str, ...] | None:
    """As `as_names`, or `None` for the default choice."""
    return None if given is None else as_names(argument, given)


def matching(argument: str, names: tuple[str, ...], existing: Iterable[str]) -> list[str]:
    """The existing names that fit, in their order. `*` in a name stands for any text.

    **Raises:** `ValueError` for a name that fits nothing.
    """
    existing = list(existing)
    for name in names:
        if not any(fnmatchcase(other, name) for other in existing):
            raise ValueError(f"`{argument}`: {unknown_name('Name', name, existing, most=_MOST)}")
    return [other for other in existing if any(fnmatchcase(other, name) for name in names)]
