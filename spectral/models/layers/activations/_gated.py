"""Units with a gate."""

import equinox as eqx
import jax

from ._activation import AbstractActivation, Activation, as_activation


class Gated(eqx.Module):
    """Hidden units activation(gate x) * (up x), with two rows of incoming weights each (Shazeer,
    *GLU Variants Improve Transformer*, 2020), for `activation=` of a transformer.

    `Gated(jax.nn.silu)` is SwiGLU, `Gated(gelu())` is GEGLU and `Gated("relu")` is ReGLU. To keep
    the number of weights, take two thirds of the units of a layer without gates.

    **Raises:** `ValueError` for an activation with two activations per unit.
    """

    activation: AbstractActivation

    def __init__(self, activation: Activation):
        self.activation = as_activation(activation)
        if self.activation.copies != 1:
            raise ValueError(
                f"`activation` is {self.activation}, which has {self.activation.copies} "
                "activations per unit, but a gate has one: pass for example `jax.nn.silu`."
            )


def swiglu() -> Gated:
    """Units silu(gate x) * (up x), see `Gated`.

    ```python
    swiglu().activation(jnp.array([-1.0, 1.0]))   # the gate: [-0.269, 0.731]
    ```
    """
    return Gated(jax.nn.silu)
