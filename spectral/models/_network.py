"""The protocol of a network."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from .units._unit_group import UnitGroup


class AbstractNetwork(eqx.Module):
    """A network that returns its activations and describes its units.

    Called on one example it returns `(outputs, taps)`, where `taps` maps the name of each hidden
    layer to its activations `[units, ...]`. A network with running statistics is called as
    `network(x, state)` and returns `((outputs, taps), state)`; it is vmapped over a batch with the
    axis name `"batch"`.

    A network that draws random numbers, such as one with dropout, has a parameter `key` in its
    `__call__` and receives a new key for each example, as `network(x, key=key)` or
    `network(x, state, key=key)`.
    """

    @abstractmethod
    def __call__(self, x: Any, /) -> Any:
        """Returns `(outputs, taps)` for one example."""

    @abstractmethod
    def units(self) -> tuple[UnitGroup, ...]:
        """Where the parameters of each hidden unit are, one group per layer."""

    @abstractmethod
    def fresh(self, *, key: PRNGKeyArray) -> "AbstractNetwork":
        """Returns a newly initialised network of the same shape."""
