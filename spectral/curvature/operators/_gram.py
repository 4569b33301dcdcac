"""The loss-weighted neural tangent matrix."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..risk._parameters import split_parameters, structure_of
from ..risk._risk import Part, Risk
from ._operator import AbstractOperator
from ._output_factor import (
    AbstractOutputFactor,
    Exact,
    times_columns,
    times_transposed_columns,
)


_BLOCK = 2**26  # numbers in the rows of the factor that `dense` holds at once
_ROWS = 64  # and rows, which are pushed through the network together


class Gram(AbstractOperator):
    """The Gram matrix F^T F of the factor of a Gauss-Newton or Fisher matrix F F^T.

    F has a column J_n^T s / sqrt(N) for each of the N examples and each column s of its output
    factor S_n. With `Exact()` this is the neural tangent kernel of the network weighted by the
    Hessian of the loss. It acts on vectors `[examples, columns]`, so its size is N times the number
    of outputs however many parameters there are, and it has the eigenvalues of `GaussNewton` (or
    `Fisher`) of the same risk but for zeros; `parameters` is the size of that matrix, which says
    how many zeros.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Gram, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 100, 2, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.ones((5, 3)), jnp.zeros((5, 2)))
    gram = Gram(risk, model)
    gram.dim, gram.parameters  # 10, 10702
    gram.dense()  # [10, 10]
    ```

    **Arguments:**

    - `risk`: a `Risk`.
    - `params`: any pytree of floating-point arrays, or an Equinox network as it is.
    - `factor`: as for `Fisher`, by default `Exact()`.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, if the outputs are not as `Risk` wants them, or if the loss cannot be
    sampled from and `factor` samples.
    """

    risk: Risk
    params: PyTree
    factor: AbstractOutputFactor
    columns: jax.ShapeDtypeStruct = eqx.field(static=True)  # [examples, columns]

    def __init__(self, risk: Risk, params: PyTree, *, factor: AbstractOutputFactor | None = None):
        factor = Exact() if factor is None else factor
        self.risk = risk
        self.params = params
        self.factor = factor
        dynamic, constants = split_parameters(params)

        def one(p: PyTree) -> PyTree:
            part = risk.part(jnp.arange(1))
            outputs = risk.outputs(eqx.combine(p, constants), part)
            return factor.columns(risk.loss, outputs, part.targets, part.rows)

        leaves = jax.tree.leaves(eqx.filter_eval_shape(one, dynamic))
        shape = risk.num_examples, leaves[0].shape[0]
        self.columns = jax.ShapeDtypeStruct(shape, jnp.result_type(*(s.dtype for s in leaves)))

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.columns

    @property
    def parameters(self) -> int:
        """Rows of the matrix in the space of the parameters that has the same eigenvalues."""
        return sum(math.prod(s.shape) for s in jax.tree.leaves(structure_of(self.params)))

    def product(self) -> Callable[[PyTree], PyTree]:
        dynamic, _ = split_parameters(self.params)

        def pull(part: Part) -> Callable[[Float[Array, "all columns"]], PyTree]:
            columns, push = self._linearised(part)
            transposed = jax.linear_transpose(push, dynamic)

            def apply(vector: Float[Array, "all columns"]) -> PyTree:
                # The rows of padding are those of the last example, with the weight 0.
                own = jnp.take(vector, part.rows, axis=0, mode="clip")
                own = (own * jnp.sqrt(part.weights)[:, None]).astype(own.dtype)
                return transposed(times_columns(columns, own))[0]

            return apply

        from_examples, to_examples = self.risk.summed(pull), self.risk.joined(self._push)
        return lambda vector: to_examples(from_examples(vector))

    def dense(self) -> Float[Array, "dim dim"]:
        """The matrix itself, in the order of `flat_product`.

        A few columns of F at a time (at most 64 vectors like the parameters, 256 MB in float32, or
        a single one) are pushed through the network with all examples, or with one batch of the
        risk after the other: F as a whole is never held.
        """
        dynamic, _ = split_parameters(self.params)
        push = self.risk.joined(self._push)
        examples, columns = self.columns.shape
        at_once = max(1, min(_ROWS, _BLOCK // self.parameters))

        def block(row: Int[Array, ""]) -> Float[Array, "columns all columns"]:
            own, forward = self._linearised(self.risk.part(row[None]))
            pull = jax.linear_transpose(forward, dynamic)
            pushed = lambda column: push(pull(column)[0])
            if columns <= at_once:
                rows = jax.vmap(pushed)(own)
            else:
                rows = jax.lax.map(pushed, own, batch_size=at_once)
            return rows / self.risk.num_examples**0.5

        with jax.default_matmul_precision("highest"):
            blocks = jax.lax.map(
                block, jnp.arange(examples), batch_size=min(examples, max(1, at_once // columns))
            )
        matrix = blocks.reshape(self.dim, self.dim).astype(self.dtype)
        return (matrix + matrix.T) / 2

    def _linearised(self, part: Part) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
        """The columns of the output factor, and the Jacobian."""
        dynamic, constants = split_parameters(self.params)
        forward = lambda p: self.risk.outputs(eqx.combine(p, constants), part)
        outputs, push = jax.linearize(forward, dynamic)
        columns = self.factor.columns(self.risk.loss, outputs, part.targets, part.rows)
        return jax.tree.map(lambda s, z: s.astype(z.dtype), columns, outputs), push

    def _push(self, part: Part) -> Callable[[PyTree], Float[Array, "examples columns"]]:
        columns, push = self._linearised(part)

        def apply(vector: PyTree) -> Float[Array, "examples columns"]:
            products = times_transposed_columns(columns, push(vector))
            return (products * jnp.sqrt(part.weights)[:, None]).astype(products.dtype)

        return apply
