"""The Hessian of a loss."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..risk._parameters import split_parameters, structure_of
from ..risk._risk import Part, Risk
from ._operator import AbstractOperator


class Hessian(AbstractOperator):
    """The matrix of second derivatives of a loss at given parameters.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Hessian

    def loss(x, y, params):
        return jnp.mean((jnp.tanh(x @ params["w"]) - y) ** 2)

    params = {"w": jnp.ones((3, 2))}
    data = jnp.ones((5, 3)), jnp.zeros((5, 2))
    hessian = Hessian(jax.tree_util.Partial(loss, *data), params)
    hessian.mv(params)  # like params
    hessian.dense()  # [6, 6]
    ```

    **Arguments:**

    - `loss`: maps `params` to a scalar; or a `Risk`, whose chunks are then taken one after the
        other. The data belong to it. Give them as the arrays of a `Risk`, of a
        `jax.tree_util.Partial` or of an Equinox Module, and other data of the same shapes compile
        nothing anew. A plain closure is compiled with its data as constants, again for each new
        closure; like any jitted function it does not see a later change of what it closes over.
        Networks with BatchNorm or dropout belong in inference mode.
    - `params`: any pytree of floating-point arrays, such as the parameters of Flax or a dict, or an
        Equinox network as it is: what is not a number in it is a constant.

    The gradient is linearised once and its linear part applied to each vector (Pearlmutter 1994,
    forward over reverse), at the memory of one backward pass kept between products. A risk of
    several batches is differentiated anew in every product, in the memory of one batch. The matrix
    is that of the function as it is: for a `Risk`, of the mean over the examples.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, or (when a product is first asked for) if the loss is not a floating-point
    scalar.
    """

    loss: Callable[[PyTree], Any] | Risk
    params: PyTree

    def __check_init__(self):
        split_parameters(self.params)

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return structure_of(self.params)

    def product(self) -> Callable[[PyTree], PyTree]:
        loss = self.loss
        params, constants = split_parameters(self.params)
        if isinstance(loss, Risk):

            def of_part(part: Part) -> Callable[[PyTree], PyTree]:
                value = lambda p: loss.value(eqx.combine(p, constants), part)
                return jax.linearize(jax.grad(value), params)[1]

            return loss.summed(of_part)
        # The linear map is staged here, so that this is the precision of all its products. The
        # default on recent GPUs keeps 10 bits of a factor: a noise floor of 5e-4 lambda_max.
        with jax.default_matmul_precision("highest"):
            value = lambda p: scalar_value(loss(eqx.combine(p, constants)))
            return jax.linearize(jax.grad(value), params)[1]


def scalar_value(value: Any) -> Float[Array, ""]:
    """The value of a loss, if it is a floating-point scalar. **Raises:** `ValueError`."""
    is_array = isinstance(value, jax.Array)
    if not (is_array and value.shape == () and jnp.issubdtype(value.dtype, jnp.floating)):
        got = (
            f"an array of {value.dtype} {value.shape}" if is_array else f"a {type(value).__name__}"
        )
        raise ValueError(
            f"`loss` returned {got}, but must return one floating-point number: take the mean over "
            "the examples, and leave out auxiliary outputs."
        )
    return value
