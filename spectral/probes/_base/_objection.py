"""What a check says against a network."""

from collections.abc import Callable
from typing import Any


def objection(check: Callable[..., Any], *given: Any) -> str | None:
    """Returns the message with which `check(*given)` raises, without its last stop; `None` if it
    does not. A probe records NaN for this reason."""
    try:
        check(*given)
    except (TypeError, ValueError) as error:
        return str(error).removesuffix(".")
    return None
