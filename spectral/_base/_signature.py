"""What a function can be called with."""

import inspect
from collections.abc import Callable
from typing import Any


def has_parameter(function: Callable[..., Any], name: str) -> bool:
    """Whether `function` has a parameter of this name that can be passed by it.

    Wrappers made with `functools.wraps` or `functools.partial` are followed. `**kwargs` alone
    does not count.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return name in parameters and parameters[name].kind in named
