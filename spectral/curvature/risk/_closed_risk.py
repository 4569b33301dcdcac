"""A network and a loss that hold their data themselves."""

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
    """The risk of a `forward(params)` and a `loss(outputs)` that hold their data themselves.

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

    - `forward`: `params -> outputs`, any pytree of floating-point arrays, with no axis that means
        examples.
    - `loss`: `outputs -> scalar`, convex, and differentiated. It may couple all outputs.

    **Returns:** a `Risk` with one example, whose outputs are all outputs and whose loss is `loss`
    as it is: nothing is divided by anything. `Gram` of it has as many rows as there are outputs.
    Prefer `Risk` itself where there are examples: it can take them in chunks, compiles nothing anew
    for other data, and has the closed forms of the usual losses.

    **Raises:** `ValueError`, when it is used, if the loss is not a scalar.
    """
    return Risk(_OneExample(forward), _OfOne(loss), jnp.zeros(1), jnp.zeros(1))


class _OneExample(eqx.Module):
    forward: Callable[[PyTree], PyTree]

    def __call__(self, model: PyTree, inputs: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[None], self.forward(model))


class _OfOne(eqx.Module):
    loss: Callable[[PyTree], Any]

    def __call__(self, outputs: PyTree, targets: PyTree) -> Any:
        return self.loss(jax.tree.map(lambda x: x[0], outputs))
