"""How the work of a worker has ended."""

import dataclasses
from typing import Any, Literal


Kind = Literal[
    "ended",  # the group has been trained on all tasks
    "busy",  # another process trains the group
    "lost",  # the worker ended before the group; another one can continue it
    "rejected",  # the worker cannot train any group of this run
    "failed",  # the group cannot be trained: what the user has to change
    "fault",  # the training raised an error that nobody has foreseen
]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the work of a worker has ended. It travels as `facts`, because a worker of another
    version may have other classes."""

    kind: Kind
    message: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """The fields as plain data."""
        return dataclasses.asdict(self)
