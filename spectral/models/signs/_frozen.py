"""Units whose incoming weights get no gradient."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..layers.activations._activation import AbstractActivation
from ..units._described import unit_groups
from ..units._margins import activations_of


def activation_derivatives(
    model: PyTree, pre: Mapping[str, Float[Array, "examples units *positions"]]
) -> dict[str, Float[Array, "examples units *positions"]]:
    """Returns the derivative of the activation of each hidden layer at its pre-activations.

    ```python
    pre = {"hidden_0": jnp.array([[1.0, -1.0, 2.0, 0.0]])}  # of `pre_activations`
    activation_derivatives(model, pre)  # {"hidden_0": [[1, 0, 1, 0]]}
    ```

    **Arguments:** the network, and its pre-activations as `pre_activations` returns them.
    """

    def derivative(activation: AbstractActivation, x: Array) -> Array:
        return jax.jvp(activation, (x,), (jnp.ones_like(x),))[1]

    pairs = zip(unit_groups(model), activations_of(model), strict=True)
    return {group.name: derivative(activation, pre[group.name]) for group, activation in pairs}


def frozen(derivatives: Float[Array, "examples units *positions"]) -> Bool[Array, " units"]:
    """Marks the units whose activation has the derivative 0 on every example and position.

    The gradient of their incoming weights is then 0 for every loss. Joudaki et al., *Barriers for
    Learning in an Evolving World* (2026). For ReLU these are the units whose pre-activation is
    never positive, the dead units. A saturated tanh is frozen and not dead.

    ```python
    frozen(jnp.array([[0.0, 1.0], [0.0, 0.0]]))  # [True, False]
    ```
    """
    others = tuple(axis for axis in range(derivatives.ndim) if axis != 1)
    return jnp.all(derivatives == 0, axis=others)


def saturated(
    activations: Float[Array, "examples units *positions"],
    gradients: Float[Array, "examples units *positions"],
    *,
    threshold: float = 1e-4,
    fraction: float = 0.99,
) -> Bool[Array, " units"]:
    """Marks the units for which |d loss / d h| / mean |h| is below `threshold` on more than the
    `fraction` of examples and positions.

    Joudaki et al. (2026) call a unit frozen by this criterion in their code. It depends on the
    outgoing weights and on the loss: a dead unit that is read is not saturated, and all units
    become so when the loss is learnt. Its trap is the batch: their gradient is that of a mean over
    the batch, so it is smaller by the size of the batch and more units are saturated in larger
    batches. Pass gradients of the loss of each example to have a number that does not depend on how
    many examples there are.

    ```python
    h, g = jnp.ones((2, 2)), jnp.array([[1.0, 1e-5], [0.0, 1e-5]])
    jax.jit(saturated)(h, g)  # [False, True]
    ```

    **Arguments:**

    - `activations`: h. Their mean |h| over examples and positions is not taken below 1e-8, a
        number of ours.
    - `gradients`: the derivative of the loss of each example in its own h.
    """
    others = tuple(axis for axis in range(activations.ndim) if axis != 1)
    size = jnp.mean(jnp.abs(activations), axis=others, keepdims=True)
    small = jnp.abs(gradients) < threshold * jnp.maximum(size, 1e-8)
    return jnp.mean(small, axis=others, dtype=float) > fraction
