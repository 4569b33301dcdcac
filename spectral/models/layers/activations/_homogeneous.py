"""Activations that a positive factor passes through."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._activation import AbstractActivation


# Values at which the two sides are compared, of both signs, and the factors.
_POINTS, _FACTORS = (-3.0, -1.0, -0.25, 0.5, 2.0), (np.float32(0.5), np.float32(4))


def positively_homogeneous(activation: AbstractActivation) -> bool:
    """Whether phi(a x) = a phi(x) for a > 0, as for ReLU, leaky ReLU, `CReLU` and the identity.

    Then the weights into a unit can be multiplied by a and those out of it divided by a, and the
    network is the same function. GELU and tanh are not of this kind. The activation is compared
    with itself at ten points, in inference mode, and with 0.3 for its learnt parameters.

    ```python
    positively_homogeneous(Elementwise(jax.nn.relu))  # True
    ```
    """
    # The parameters may be traced. What kind of function it is does not depend on them.
    fixed = lambda x: np.full(x.shape, 0.3, x.dtype) if eqx.is_inexact_array(x) else x
    activation = jax.tree.map(fixed, eqx.nn.inference_mode(activation))
    sizes = [parameter.where(activation).size for parameter in activation.unit_parameters()]
    x = np.repeat(np.asarray(_POINTS, np.float32)[:, None], max(sizes, default=1), axis=1)
    with jax.ensure_compile_time_eval():
        value = lambda x: np.asarray(jax.vmap(activation)(jnp.asarray(x)))
        scaled = lambda a: np.allclose(value(a * x), a * value(x), rtol=1e-5, atol=1e-6)
        return all(map(scaled, _FACTORS))
