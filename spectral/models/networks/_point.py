"""A point: the network of a landscape."""

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._network import AbstractNetwork
from ..units._unit_group import UnitGroup


class Point(AbstractNetwork):
    """A vector of parameters that is its own output, whatever the input.

    With it a loss that is a function of parameters alone, such as those of
    `spectral.tasks.ToyLandscapes`, is trained and measured like the loss of a network.

    ```python
    import jax.numpy as jnp
    from spectral.models import Point

    position, taps = Point(jnp.array([0.5, 1.0]))(jnp.zeros(()))  # [0.5, 1.0], {}
    ```
    """

    position: Float[Array, " dim"]

    def __call__(self, x: Array, /) -> tuple[Float[Array, " dim"], dict[str, Array]]:
        return self.position, {}

    def units(self) -> tuple[UnitGroup, ...]:
        """A point has no units."""
        return ()

    def fresh(self, *, key: PRNGKeyArray) -> "Point":
        """The same point: there is nothing to draw."""
        return eqx.tree_at(lambda p: p.position, self, self.position)
