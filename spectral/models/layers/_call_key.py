"""Calls of networks and activations that take a key, and of those that do not."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import PRNGKeyArray


def takes_key(function: Callable[..., Any]) -> bool:
    """Whether `function` has a parameter `key` that can be passed by its name.

    Wrappers made with `functools.wraps` or `functools.partial` are followed. `**kwargs` alone is
    not a parameter `key`.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return "key" in parameters and parameters["key"].kind in named


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
