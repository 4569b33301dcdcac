"""What the rest of the package asks of a network."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from .units._unit_group import UnitGroup


class AbstractNetwork(eqx.Module):
    """A network that returns its activations and describes its units.

    Calling it on one example gives `(outputs, taps)`, where `taps` maps the name of each hidden
    layer to its activations `[units, ...]`. A network with running statistics is called as
    `network(x, state)` and gives `((outputs, taps), state)`; its batches carry the axis name
    `"batch"`.
    """

    @abstractmethod
    def __call__(self, x: Any, /) -> Any:
        """`(outputs, taps)` of one example."""

    @abstractmethod
    def units(self) -> tuple[UnitGroup, ...]:
        """Where the numbers of each hidden unit are, layer by layer."""

    @abstractmethod
    def fresh(self, *, key: PRNGKeyArray) -> "AbstractNetwork":
        """A newly initialised network of the same shape."""
