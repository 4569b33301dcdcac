"""The loss-weighted neural tangent matrix."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..risk._check_risk import check_risk
from ..risk._parameters import split_parameters, structure_of
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ..risk.examples._in_memory import InMemory
from ._linearised import linearise, Linearised
from ._operator import AbstractOperator
from ._output_factor import (
    AbstractOutputFactor,
    EXACT,
    times_columns,
    times_transposed_columns,
)


_BLOCK = 2**26  # numbers in the rows of the factor that `written_out` holds at once
_ROWS = 64  # the most rows that are pushed through the network together


class Gram(AbstractOperator):
    """The Gram matrix F^T F of the factor F of a Gauss-Newton or Fisher matrix F F^T.

    F has a column J_n^T s / sqrt(N) for each of the N examples and each column s of its output
    factor S_n. With `Exact()` this is the neural tangent kernel of the network weighted by the
    Hessian of the loss. It acts on vectors `[examples, columns]`, so its size is N times the number
    of outputs, for any number of parameters. Its nonzero eigenvalues are those of `GaussNewton` (or
    `Fisher`) of the same risk. `parameters` is the size of that matrix, which determines the
    number of its zero eigenvalues.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Gram, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.Linear(100, 2, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.ones((5, 100)), jnp.zeros((5, 2)))
    gram = Gram(risk, model)
    gram.dim, gram.parameters  # 10, 202
    gram.dense()  # [10, 10]
    ```

    **Arguments:**

    - `risk`: a `Risk`.
    - `params`: any pytree of floating-point arrays, or a whole Equinox network.
    - `factor`: as for `Fisher`, by default `Exact()`.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, if the outputs do not have the form that `Risk` requires, or if `factor`
    samples from a loss that cannot be sampled from. For concrete arrays also if the outputs depend
    on the division into batches, or if the targets do not fit the loss, see `Risk`.
    """

    risk: Risk
    params: PyTree
    factor: AbstractOutputFactor
    columns: jax.ShapeDtypeStruct = eqx.field(static=True)  # [examples, columns]

    def __init__(self, risk: Risk, params: PyTree, *, factor: AbstractOutputFactor = EXACT):
        self.risk = risk
        self.params = params
        self.factor = factor
        dynamic, constants = split_parameters(params)
        check_risk(risk, params)

        def one(p: PyTree) -> PyTree:
            batch = risk.one()
            outputs = risk.outputs(eqx.combine(p, constants), batch)
            return factor.columns(risk.loss, outputs, batch.targets, batch.indices)

        leaves = jax.tree.leaves(eqx.filter_eval_shape(one, dynamic))
        shape = risk.num_examples, leaves[0].shape[0]
        self.columns = jax.ShapeDtypeStruct(shape, jnp.result_type(*(s.dtype for s in leaves)))

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.columns

    @property
    def parameters(self) -> int:
        """The size of the matrix F F^T, which acts on the parameters."""
        return sum(math.prod(s.shape) for s in jax.tree.leaves(structure_of(self.params)))

    def product(self) -> Callable[[PyTree], PyTree]:
        def pull(batch: ExampleBatch) -> Callable[[Float[Array, "all columns"]], PyTree]:
            columns, network = self._linearised(batch)
            transposed = network.pull()

            def apply(vector: Float[Array, "all columns"]) -> PyTree:
                # Padding repeats the last example with a weight of 0.
                own = jnp.take(vector, batch.indices, axis=0, mode="clip")
                own = (own * jnp.sqrt(batch.weights)[:, None]).astype(own.dtype)
                return transposed(times_columns(columns, own))

            return apply

        from_examples, to_examples = self.risk.summed(pull), self.risk.joined(self._push)
        return lambda vector: to_examples(from_examples(vector))

    def written_out(self) -> Float[Array, "dim dim"]:
        """The computation of `dense`, which checks the size and compiles it.

        A few columns of F at a time (at most 64 vectors like the parameters, 256 MB in float32, or
        a single one) are pushed through the network with all examples, or with one batch of the
        risk after the other. F as a whole is never held in memory. For a risk whose examples are
        not in one memory, the columns of the matrix are products with unit vectors.
        """
        if not isinstance(self.risk.examples, InMemory):
            return super().written_out()
        push = self.risk.joined(self._push)
        num_examples, num_columns = self.columns.shape
        at_once = max(1, min(_ROWS, _BLOCK // self.parameters))

        def block(index: Int[Array, ""]) -> Float[Array, "columns all columns"]:
            own, network = self._linearised(self.risk.batch(index[None]))
            pull = network.pull()
            pushed = lambda column: push(pull(column))
            if num_columns <= at_once:
                rows = jax.vmap(pushed)(own)
            else:
                rows = jax.lax.map(pushed, own, batch_size=at_once)
            return rows / self.risk.num_labels**0.5

        with jax.default_matmul_precision("highest"):
            blocks = jax.lax.map(
                block,
                jnp.arange(num_examples),
                batch_size=min(num_examples, max(1, at_once // num_columns)),
            )
        matrix = blocks.reshape(self.dim, self.dim).astype(self.dtype)
        return (matrix + matrix.T) / 2

    def squared_rows(self) -> PyTree:
        """The sum of the squares in each row of F, which is the diagonal of F F^T, like the
        parameters.

        Each column of F is pulled back on its own, those of a few examples together (at most 64
        vectors like the parameters, 256 MB in float32, or a single one).
        """
        risk = self.risk
        with jax.default_matmul_precision("highest"):
            if isinstance(risk.examples, InMemory):
                example = lambda index: risk.batch(index[None])
                total = self._squares(risk.num_examples, example)
            else:
                of_batch = lambda batch: self._squares(batch.indices.shape[0], batch.example)
                total = risk.accumulate(of_batch)
        return jax.tree.map(lambda x: x / risk.num_labels, total)

    def _squares(
        self, num_examples: int, example: Callable[[Int[Array, ""]], ExampleBatch]
    ) -> PyTree:
        """The sum of the squares of the columns of these examples, without their weight."""
        at_once = min(num_examples, max(1, min(_ROWS, _BLOCK // self.parameters)))
        num_groups = -(-num_examples // at_once)
        indices = jnp.arange(num_groups * at_once).reshape(num_groups, at_once)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), structure_of(self.params))

        def of_example(index: Int[Array, ""]) -> PyTree:
            batch = example(index)
            own, network = self._linearised(batch)
            pull = network.pull()
            add = lambda total, column: (jax.tree.map(_add_square, total, pull(column)), None)
            squares = jax.lax.scan(add, zeros, own)[0]
            # Indices beyond the last example are padding, and so is an example without weight.
            counts = (index < num_examples) & (batch.indices[0] < self.risk.num_examples)
            return jax.tree.map(lambda x: jnp.where(counts, x, 0), squares)

        def add_group(total: PyTree, group: Int[Array, " group"]) -> tuple[PyTree, None]:
            squares = jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.vmap(of_example)(group))
            return jax.tree.map(jnp.add, total, squares), None

        return jax.lax.scan(add_group, zeros, indices)[0]

    def _linearised(self, batch: ExampleBatch) -> tuple[PyTree, Linearised]:
        """The columns of the output factor, and the linearised network."""
        network = linearise(self.risk, self.params, batch)
        outputs = network.outputs
        columns = self.factor.columns(self.risk.loss, outputs, batch.targets, batch.indices)
        return jax.tree.map(lambda s, z: s.astype(z.dtype), columns, outputs), network

    def _push(self, batch: ExampleBatch) -> Callable[[PyTree], Float[Array, "examples columns"]]:
        columns, network = self._linearised(batch)

        def apply(vector: PyTree) -> Float[Array, "examples columns"]:
            products = times_transposed_columns(columns, network.push(vector))
            return (products * jnp.sqrt(batch.weights)[:, None]).astype(products.dtype)

        return apply


def _add_square(total: Float[Array, "..."], own: Float[Array, "..."]) -> Float[Array, "..."]:
    return total + own.astype(total.dtype) ** 2
