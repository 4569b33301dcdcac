"""Scale hidden units without a change of the function of the network."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._arguments import check_above, unknown_name
from ..layers.activations._homogeneous import positively_homogeneous
from ._described import unit_groups
from ._entries import Entries
from ._margins import activations_of
from ._unit_group import UnitGroup


def rescaled(model: PyTree, factors: Mapping[str, Float[Array, " units"]]) -> PyTree:
    """Multiply what goes into hidden units by positive factors, and divide their outgoing weights
    by them. The function of the network stays the same.

    What goes into a unit are its incoming weights and its bias, or, behind a normalisation, its
    scale and shift, because the normalisation removes a factor before it (ours). Factors that are
    powers of two change no output by a bit; others change it by rounding. An optimiser keeps
    moments of the old weights: initialise it again.

    ```python
    other = rescaled(model, {"hidden_0": jnp.array([1.0, 2.0, 0.5, 8.0])})
    other(jnp.ones(64))[0] - model(jnp.ones(64))[0]  # 0
    ```

    **Arguments:**

    - `model`: a network that describes its units and whose activations are positively homogeneous,
      such as ReLU, leaky ReLU or `CReLU`.
    - `factors`: by the names of layers a factor for each unit. Other layers stay as they are.

    **Raises:** `TypeError` if the network does not describe its units. `ValueError` if an
    activation is not positively homogeneous, a layer does not exist, its units have no outgoing
    weights of their own, or the factors have the wrong shape or are not positive.
    """
    check_scalable(model)
    groups = {group.name: group for group in unit_groups(model)}
    for name, factor in factors.items():
        if name not in groups:
            raise ValueError(unknown_name("`factors`: Layer", name, groups))
        group = groups[name]
        if not group.replaceable:
            raise ValueError(
                f"`factors` has the layer {name!r}, whose units have no outgoing weights of their "
                "own, so nothing can undo the factor: leave it out."
            )
        if jnp.shape(factor) != (group.size,):
            raise ValueError(
                f"`factors[{name!r}]` has shape {jnp.shape(factor)}, but the layer has "
                f"{group.size} units: pass an array of shape {(group.size,)}."
            )
        check_above(f"factors[{name!r}]", factor, 0)
        model = scaled_units(model, group, jnp.asarray(factor))
    return model


def check_scalable(model: PyTree) -> None:
    """**Raises:** `ValueError` if the units of a network cannot be scaled without a change of its
    function, or if it does not hold its activations, by which this is known."""
    activations = activations_of(model)
    if not activations:
        raise ValueError(
            f"`model` is a {type(model).__name__} without activations as fields, but units can be "
            "scaled only where phi(a x) = a phi(x), which cannot be checked: keep the activations "
            "of your network as fields, such as `Elementwise(jax.nn.relu)`."
        )
    wrong = [a for a in activations if not positively_homogeneous(a)]
    if wrong:
        raise ValueError(
            f"`model` has the activation {wrong[0]}, but units can be scaled only where "
            "phi(a x) = a phi(x) for a > 0, as for ReLU: a factor changes the function of this "
            "network, so measure it at its own weights."
        )


def inner_entries(group: UnitGroup) -> tuple[Entries, ...]:
    """Where the parameters are in which the pre-activation of a unit is linear."""
    return group.scale + group.shift or group.incoming + group.bias


def scaled_units(model: PyTree, group: UnitGroup, factors: Float[Array, " units"]) -> PyTree:
    """The network with the inner parameters of units times, and the outgoing divided by, factors
    that may be traced."""
    inner = [(entries, factors) for entries in inner_entries(group)]
    for entries, factor in [*inner, *((entries, 1 / factors) for entries in group.outgoing)]:
        array = entries.where(model)
        shape = [1] * array.ndim
        shape[entries.axis] = -1
        scaled = array * entries.spread(factor).reshape(shape).astype(array.dtype)
        model = eqx.tree_at(entries.where, model, scaled)
    return model
