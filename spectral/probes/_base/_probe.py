"""What the loop asks of a probe."""

from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._types import Learner
from ...tasks import AbstractTaskStream


When = Literal["start", "end"]


class AbstractProbe(eqx.Module):
    """Something that is measured at the start or end of a task.

    A probe looks at the learner and at data drawn by `stream.sample`, and returns a dictionary of
    arrays. It is compiled on its own and given keys derived from its name, so that it never
    changes the training. It measures the tasks 0, `every`, 2 `every`, ...; `"start"` means after
    the task has changed and before its first gradient step.
    """

    when: eqx.AbstractVar[tuple[When, ...]]
    every: eqx.AbstractVar[int]

    @abstractmethod
    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """The measurements, by name."""
