"""The risk of a network and a loss that already contain their data."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._risk import Risk


def closed_risk(
    forward: Callable[[PyTree], PyTree], loss: Callable[[PyTree], Float[Array, ""]]
) -> Risk:
    """The risk of a `forward(params)` and a `loss(outputs)` that already contain their data.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import closed_risk, GaussNewton

    inputs, targets = jnp.ones((5, 3)), jnp.zeros((5, 2))
    risk = closed_risk(
        lambda params: jnp.tanh(inputs @ params), lambda outputs: jnp.mean((outputs - targets) ** 2)
    )
    GaussNewton(risk, jnp.ones((3, 2))).dense()  # [6, 6]
    ```

    **Arguments:**

    - `forward`: `params -> outputs`. The outputs are any pytree of floating-point arrays; no axis
        is taken as an axis over examples.
    - `loss`: `outputs -> scalar`, convex and differentiable. It may couple all outputs.

    **Returns:** a `Risk` with a single example. Its loss is `loss` itself, without any
    normalisation. Its `Gram` matrix has one row for each entry of the outputs. If there are
    examples, prefer `Risk`: it can process them in batches, does not recompile for new data, and
    has closed forms for the usual losses.

    **Raises:** `ValueError`, when the risk is used, if the loss is not a scalar.
    """
    return Risk(_OneExample(forward), _LossOfOne(loss), jnp.zeros(1), jnp.zeros(1))


class _OneExample(eqx.Module):
    forward: Callable[[PyTree], PyTree]

    def __call__(self, model: PyTree, inputs: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[None], self.forward(model))


class _LossOfOne(eqx.Module):
    loss: Callable[[PyTree], Any]

    def __call__(self, outputs: PyTree, targets: PyTree) -> Any:
        return self.loss(jax.tree.map(lambda x: x[0], outputs))
