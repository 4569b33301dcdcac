"""A single vector of parameters as a network, for toy landscapes."""

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._network import AbstractNetwork
from ..units._unit_group import UnitGroup


class Point(AbstractNetwork):
    """A vector of parameters that is returned as the output for any input.

    With it a loss that depends on parameters only, such as those of `spectral.tasks.ToyLandscapes`,
    is trained and measured like the loss of a network.

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
        """Returns the same point, because its initial position is not random."""
        return eqx.tree_at(lambda p: p.position, self, self.position)
