"""The Hessian of a loss."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..risk._check_risk import check_risk
from ..risk._parameters import split_parameters
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ._parameter_operator import AbstractParameterOperator


class Hessian(AbstractParameterOperator):
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

    - `loss`: maps `params` to a scalar; or a `Risk`, which is then evaluated batch by batch. The
        loss contains its data. Pass them as the arrays of a `Risk`, of a `jax.tree_util.Partial` or
        of an Equinox Module; then new data of the same shapes do not recompile anything. A plain
        closure is compiled with its data as constants, again for each new closure, and does not see
        later changes of the variables it closes over, like any jitted function. Networks with
        BatchNorm or dropout must be in inference mode.
    - `params`: any pytree of floating-point arrays, such as the parameters of Flax or a dict, or a
        whole Equinox network, whose leaves that are not numbers are constants. The loss receives
        them, and the matrix acts on vectors, in float32 at least.

    The gradient is linearised once, and its linear part is applied to each vector (Pearlmutter
    1994, forward over reverse). This keeps the memory of one backward pass between products. A risk
    with several batches is differentiated again in every product, in the memory of one batch. The
    matrix belongs to the function without further normalisation: for a `Risk`, to the mean over the
    examples.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, or (when a product is first requested) if the loss is not a floating-point
    scalar. For a `Risk`, also if its outputs depend on the division into batches or if its targets
    do not fit its loss, see `Risk`.
    """

    loss: Callable[[PyTree], Any] | Risk
    params: PyTree

    def __check_init__(self):
        check_risk(self.loss, self.params)

    def product(self) -> Callable[[PyTree], PyTree]:
        loss = self.loss
        params, constants = split_parameters(self.params)
        if isinstance(loss, Risk):

            def of_batch(batch: ExampleBatch) -> Callable[[PyTree], PyTree]:
                value = lambda p: loss.value(eqx.combine(p, constants), batch)
                return jax.linearize(jax.grad(value), params)[1]

            return loss.summed(of_batch)
        # The linear map is traced here, so this sets the precision of all its products. The default
        # on recent GPUs keeps 10 bits of a factor: a noise floor of 5e-4 lambda_max.
        with jax.default_matmul_precision("highest"):
            value = lambda p: scalar_value(loss(eqx.combine(p, constants)))
            return jax.linearize(jax.grad(value), params)[1]


def scalar_value(value: Any) -> Float[Array, ""]:
    """Returns the value of a loss.

    **Raises:** `ValueError` unless it is a floating-point scalar.
    """
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
