"""The requirement that a network is normalised, for recipes that depend on it."""

import equinox as eqx
from jaxtyping import PRNGKeyArray

from ..._types import Learner
from ...models import unit_groups
from ._protocols import AbstractTransform


class NeedsNorm(AbstractTransform[None]):
    """Changes nothing, but rejects a network that has a hidden layer without a norm before its
    activation, as a block of a transformer with the norm before its layers is.

    `instead` names a part for such a network.
    """

    instead: str = eqx.field(static=True)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `ValueError` for a hidden layer whose units have no scale of a norm layer."""
        for group in unit_groups(learner.model):
            if not group.scale:
                raise ValueError(
                    f"This algorithm needs a norm before every activation, but the hidden layer "
                    f"{group.name!r} of this {type(learner.model).__name__} has none: make the "
                    f"model with `layer_norm=True` if it has that option, or use {self.instead}."
                )
