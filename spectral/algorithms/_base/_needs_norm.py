"""The demand that a network be normalised, for recipes that are half a matter of the model."""

from jaxtyping import PRNGKeyArray

from ..._types import Learner
from ...models import unit_groups
from ._algorithm import AbstractTransform


class NeedsNorm(AbstractTransform[None]):
    """Changes nothing, but refuses a network with a hidden layer without a norm."""

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `ValueError` for a layer whose units have no scale of a norm layer."""
        for group in unit_groups(learner.model):
            if not group.scale:
                raise ValueError(
                    f"This algorithm presumes a norm before every activation, but the hidden layer "
                    f"{group.name!r} has none: make the model with `layer_norm=True`."
                )
