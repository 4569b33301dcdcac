"""The activations of a network as something that can be differentiated."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..layers._call_key import call_with_key
from ..layers.activations._activation import AbstractActivation
from ..units._described import unit_groups
from ..units._margins import activations_of, with_activations


Offset = Float[Array, "activations *positions"]  # noqa: F821 (ruff reads a product of two names)


def with_offsets(model: PyTree, offsets: Mapping[str, Offset]) -> PyTree:
    """Returns the network with numbers added to the activations of its hidden layers.

    The derivative of a loss in offsets of zero is its derivative in the activations.

    ```python
    changed = with_offsets(model, {"hidden_0": jnp.zeros(4)})
    changed(jnp.ones(64))  # the outputs and taps of `model`
    ```

    **Arguments:**

    - `offsets`: by the names of the layers an array of the shape of their tap for one example.

    **Raises:** `ValueError` if the network does not hold one activation for each of its groups of
    units, `TypeError` if it does not describe its units.
    """
    check_one_activation_each(model)
    activations = activations_of(model)
    new = {
        i: _Offset(activations[i], offsets[group.name])
        for i, group in enumerate(unit_groups(model))
        if group.name in offsets
    }
    return with_activations(model, new)


def check_one_activation_each(model: PyTree) -> None:
    """**Raises:** as `with_offsets`."""
    groups, found = unit_groups(model), activations_of(model)
    if len(groups) != len(found):
        raise ValueError(
            f"`model` has the activations {[type(a).__name__ for a in found]} for {len(groups)} "
            "groups of units, but each group needs its own: keep the activations of your network "
            "as fields, such as `Elementwise(jax.nn.relu)`, in the order of its layers."
        )


class _Offset(AbstractActivation):
    """An activation plus constants, which come with the units first."""

    activation: AbstractActivation
    offset: Offset

    def __init__(self, activation: AbstractActivation, offset: Offset):
        self.activation, self.offset = activation, offset

    @property
    def copies(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.activation.copies

    def __call__(
        self, x: Float[Array, "... units"], /, *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "... activations"]:
        return call_with_key(self.activation, x, key=key) + jnp.moveaxis(self.offset, 0, -1)

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "_Offset":
        return _Offset(self.activation.fresh(num_units, key=key), self.offset)
