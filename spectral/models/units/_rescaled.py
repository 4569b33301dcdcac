"""Rescaling of units that does not change the function of the network."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._arguments import unknown_name
from ..layers.activations._activation import AbstractActivation, Elementwise
from ..layers.activations._two_sided import CReLU
from ._described import DescribesUnits, unit_groups
from ._entries import Entries
from ._margins import activations_of
from ._unit_group import UnitGroup


def rescaled(model: DescribesUnits, factors: Mapping[str, Float[Array, " units"]]) -> PyTree:
    """Returns the network with the incoming weights and the bias of each unit multiplied by a
    factor, and its outgoing weights divided by it.

    If all activations are positively homogeneous, f(a x) = a f(x) for a > 0 as for ReLU, this does
    not change the function of the network, up to rounding; with powers of two it changes no bit.
    In a layer with a norm, scale and shift are multiplied instead.

    ```python
    import jax.numpy as jnp

    model = models.MLP(3, 2, width=4, depth=1, key=jax.random.key(0))
    models.rescaled(model, {"hidden_0": jnp.array([1.0, 2.0, 0.5, 8.0])})  # the same function
    ```

    **Arguments:**

    - `factors`: by the name of the layer in the taps, a positive factor for each unit. Layers that
      are left out stay as they are.

    **Raises:** `ValueError` for an unknown layer, for factors that are not one for each unit, for
    units without outgoing weights of their own, or if an activation is not positively homogeneous;
    `TypeError` for a network without `units()`.
    """
    groups = {group.name: group for group in unit_groups(model)}
    for activation in activations_of(model):
        _check_homogeneous(activation)
    for name, factor in factors.items():
        if name not in groups:
            raise ValueError(unknown_name("`factors`: Layer", name, groups))
        _check_factor(groups[name], factor)
        group = groups[name]
        for entries in (group.scale + group.shift) or (group.incoming + group.bias):
            model = _multiplied(model, entries, factor)
        for entries in group.outgoing:
            model = _multiplied(model, entries, 1 / factor)
    return model


def _multiplied(model: PyTree, entries: Entries, factor: Float[Array, " units"]) -> PyTree:
    array = entries.where(model)
    shape = [1] * array.ndim
    shape[entries.axis] = -1
    new = array * entries.spread(factor).reshape(shape)
    return eqx.tree_at(entries.where, model, new.astype(array.dtype))


def _check_factor(group: UnitGroup, factor: Float[Array, " units"]) -> None:
    if jnp.shape(factor) != (group.size,):
        raise ValueError(
            f"`factors[{group.name!r}]` has the shape {jnp.shape(factor)}, but the layer has "
            f"{group.size} units: pass an array of shape ({group.size},)."
        )
    if not group.replaceable:
        raise ValueError(
            f"The units of {group.name!r} have no outgoing weights of their own, so that rescaling "
            "them would change the function: leave the layer out of `factors`."
        )


def _check_homogeneous(activation: AbstractActivation) -> None:
    if isinstance(activation, CReLU):
        return
    if isinstance(activation, Elementwise):
        # The function is known while a program is traced, and so are its values.
        with jax.ensure_compile_time_eval():
            x = jnp.asarray([-2.0, -0.5, 0.0, 0.5, 2.0])
            if np.allclose(activation.function(3 * x), 3 * activation.function(x), rtol=1e-5):
                return
    name = getattr(getattr(activation, "function", None), "__name__", type(activation).__name__)
    raise ValueError(
        f"`model` has the activation `{name}`, but rescaling keeps the function only if f(a x) = "
        "a f(x) for all a > 0: make the network with `relu` or another activation without a scale."
    )
