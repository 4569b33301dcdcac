"""Calls of networks and activations that take a key, and of those that do not."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from ..._base._signature import has_parameter


def takes_key(function: Callable[..., Any]) -> bool:
    """Whether `function` has a parameter `key` that can be passed by its name."""
    return has_parameter(function, "key")


def call_with_key(function: Callable[..., Any], *args: Any, key: PRNGKeyArray | None) -> Any:
    """Call `function`, with the key if it takes one."""
    return function(*args, key=key) if takes_key(function) else function(*args)


def one_key_each(
    functions: Sequence[Callable[..., Any]], key: PRNGKeyArray | None
) -> list[PRNGKeyArray | None]:
    """A key for each function; `None` for all of them if no function takes a key."""
    if key is None or not any(map(takes_key, functions)):
        return [None for _ in functions]
    return [*jax.random.split(key, len(functions))]
