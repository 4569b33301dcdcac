"""The Hessian of a loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

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

    - `loss`: maps parameters to a scalar. The data belong to it. Give them as the arrays of a
        `jax.tree_util.Partial` or of an Equinox Module, and other data of the same shapes compile
        nothing anew. A plain closure is compiled with its data as constants, again for each new
        closure; like any jitted function it does not see a later change of what it closes over.
        Networks with BatchNorm or dropout belong in inference mode.
    - `params`: any pytree of floating-point arrays: the first half of
        `eqx.partition(model, eqx.is_inexact_array)`, a dict, the parameters of Flax.

    The gradient is linearised once and its linear part applied to each vector (Pearlmutter 1994,
    forward over reverse), at the memory of one backward pass kept between products.

    **Raises:** `ValueError` if there are no parameters, if a leaf is not a floating-point array,
    or (when a product is first asked for) if the loss is not a floating-point scalar.
    """

    loss: Callable[[PyTree], Any]
    params: PyTree

    def __check_init__(self):
        leaves = jax.tree_util.tree_leaves_with_path(self.params)
        for path, leaf in leaves:
            is_array = isinstance(leaf, jax.Array | np.ndarray)
            if not (is_array and jnp.issubdtype(leaf.dtype, jnp.floating)):
                got = f"an array of {leaf.dtype}" if is_array else f"a {type(leaf).__name__}"
                where = jax.tree_util.keystr(path) or "itself"
                raise ValueError(
                    f"`params` has {got} at {where}, but every leaf must be a floating-point "
                    "array: separate the others with `eqx.partition(model, eqx.is_inexact_array)` "
                    "and combine them again inside `loss`."
                )
        if self.dim == 0:
            raise ValueError(
                f"`params` is {self.params!r} and holds no numbers, but must hold at least one: "
                "pass the parameters of a network."
            )

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.params)

    def product(self) -> Callable[[PyTree], PyTree]:
        # The linear map is staged here, so that this is the precision of all its products. The
        # default on recent GPUs keeps 10 bits of a factor: a noise floor of 5e-4 lambda_max.
        with jax.default_matmul_precision("highest"):
            _, linear = jax.linearize(
                jax.grad(self._scalar), jax.tree.map(jnp.asarray, self.params)
            )
        return linear

    def _scalar(self, params: PyTree) -> Array:
        value = self.loss(params)
        is_array = isinstance(value, jax.Array)
        if not (is_array and value.shape == () and jnp.issubdtype(value.dtype, jnp.floating)):
            got = (
                f"an array of {value.dtype} {value.shape}"
                if is_array
                else f"a {type(value).__name__}"
            )
            raise ValueError(
                f"`loss` returned {got}, but must return one floating-point number: take the mean "
                "over the examples, and leave out auxiliary outputs."
            )
        return value
