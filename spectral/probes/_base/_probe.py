"""The protocol between the loop and a probe."""

from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._types import Learner
from ...algorithms import AbstractSign
from ...tasks import AbstractTaskStream


When = Literal["start", "end"]


class AbstractProbe(AbstractSign):
    """A measurement at the start or end of a task.

    A probe reads the learner and data drawn by `stream.sample`, and returns a dictionary of arrays.
    It is compiled separately and draws nothing that the training draws, so it never changes the
    training. It measures at tasks 0, `every`, 2 `every`, ... `"start"` means after the change of
    task and before the first gradient step.
    """

    when: eqx.AbstractVar[tuple[When, ...]]
    every: eqx.AbstractVar[int]

    @abstractmethod
    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """Returns the measurements by name.

        `key` is derived from the name of the probe, so that the draws of two probes are
        independent. The examples alone are common: a probe that also has a parameter `boundary`
        receives a `Boundary`, whose `sample_key` is their key. A probe that has a parameter
        `initial` receives the network with which the run began, before its first task.
        """
