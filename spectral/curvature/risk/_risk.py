"""The mean loss over a set of examples, in as many passes as memory asks for."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..._arguments import check_count
from ._convex import Convex
from ._loss import AbstractLoss, total_loss
from ._parameters import split_parameters


Result = TypeVar("Result")
Vector = TypeVar("Vector")


class Part(eqx.Module):
    """Examples that are taken in one pass."""

    inputs: PyTree[Array]  # [examples, ...]
    targets: PyTree[Array]  # [examples, ...]
    rows: Int[Array, " examples"]  # their indices in the whole data set; beyond it for padding
    weights: Float[Array, " examples"]  # they sum to 1 over all parts; 0 for padding
    ragged: bool = eqx.field(static=True)  # some rows may be padding


class Risk(eqx.Module):
    """The mean over N examples of the loss of a network's outputs.

    `risk(model)` is that mean. The Hessian, Gauss-Newton, Fisher, Gram and Kronecker-factored
    matrices of one risk are matrices of the same function, normalised alike: the mean over the
    examples, neither their sum (that is `risk.num_examples * operator`) nor a mean over the entries
    of an output.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import GaussNewton, Hessian, Risk, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    inputs, labels = jnp.ones((10, 3)), jnp.zeros(10, int)
    risk = Risk(forward, SoftmaxCrossEntropy(), inputs, labels, batch_size=4)
    residual = Hessian(risk, model) - GaussNewton(risk, model)
    ```

    **Arguments:**

    - `forward`: `(model, inputs) -> outputs`, with leaves `[examples, ...]`; the outputs of an
        example may depend on its own inputs alone, so BatchNorm belongs in inference mode. A
        function at the top of a module, or a Module (whose fields may hold the state of BatchNorm),
        so that nothing is compiled twice.
    - `loss`: `SquaredError()`, `SoftmaxCrossEntropy()`, `SigmoidCrossEntropy()`, or any function
        `(outputs, targets) -> losses` that is convex in the outputs, which returns one number for
        each example or their mean (a sum cannot be told from it and would count N times too much)
        and is differentiated.
    - `inputs`, `targets`: pytrees of arrays with a leading axis over the examples.
    - `batch_size`: examples in one pass. By default all of them. A last batch that is not full is
        padded with rows of weight 0, so the result does not depend on the batches but for rounding.

    **Raises:** `ValueError` if there are no examples, if inputs and targets differ in their
    number, or for a batch size below one.
    """

    forward: Callable[[PyTree, PyTree], PyTree]
    loss: AbstractLoss
    inputs: PyTree[Array]
    targets: PyTree[Array]
    batch_size: int = eqx.field(static=True)

    def __init__(
        self,
        forward: Callable[[PyTree, PyTree], PyTree],
        loss: AbstractLoss | Callable,
        inputs: PyTree,
        targets: PyTree,
        *,
        batch_size: int | None = None,
    ):
        self.forward = forward
        self.loss = loss if isinstance(loss, AbstractLoss) else Convex(loss)
        self.inputs = jax.tree.map(jnp.asarray, inputs)
        self.targets = jax.tree.map(jnp.asarray, targets)
        leaves = jax.tree.leaves((self.inputs, self.targets))
        sizes = {x.shape[0] if x.ndim else None for x in leaves}
        if len(sizes) != 1 or sizes & {None, 0}:
            shapes = [x.shape for x in leaves]
            raise ValueError(
                f"`inputs` and `targets` have arrays of shapes {shapes}, but all must have the "
                "same leading axis, over at least one example: pass batches of equal length."
            )
        num_examples = leaves[0].shape[0]
        if batch_size is not None:
            check_count("batch_size", batch_size)
        self.batch_size = num_examples if batch_size is None else min(batch_size, num_examples)

    @property
    def num_examples(self) -> int:
        """N, the number of examples."""
        return jax.tree.leaves(self.inputs)[0].shape[0]

    @property
    def passes(self) -> int:
        """Batches into which the examples are cut."""
        return -(-self.num_examples // self.batch_size)

    def __call__(self, model: PyTree) -> Float[Array, ""]:
        """The mean loss."""
        return self.accumulate(lambda part: self.value(model, part))

    def outputs(self, model: PyTree, part: Part) -> PyTree:
        """The network's outputs for the examples of one part.

        **Raises:** `ValueError` unless they are floating-point arrays `[examples, ...]`.
        """
        outputs = self.forward(model, part.inputs)
        num_examples, leaves = part.rows.shape[0], jax.tree.leaves(outputs)
        ok = lambda x: (
            isinstance(x, jax.Array)
            and jnp.issubdtype(x.dtype, jnp.floating)
            and x.shape[:1] == (num_examples,)
        )
        if not leaves or not all(map(ok, leaves)):
            got = [
                f"{x.dtype} {x.shape}" if isinstance(x, jax.Array) else type(x).__name__
                for x in leaves
            ]
            raise ValueError(
                f"`forward` returned {got} for {num_examples} examples, but must return "
                "floating-point arrays whose leading axis runs over the examples: map the network "
                "over its inputs with `jax.vmap`, and leave out auxiliary outputs."
            )
        return outputs

    def value(self, model: PyTree, part: Part) -> Float[Array, ""]:
        """What the examples of one part contribute to the mean loss."""
        outputs = self.outputs(model, part)
        return total_loss(self.loss, outputs, part.targets, part.weights, ragged=part.ragged)

    def part(self, rows: Int[Array, " rows"]) -> Part:
        """The examples with these indices; indices beyond the last are padding."""
        take = lambda x: jnp.take(x, rows, axis=0, mode="clip")
        return Part(
            inputs=jax.tree.map(take, self.inputs),
            targets=jax.tree.map(take, self.targets),
            rows=rows,
            weights=jnp.where(rows < self.num_examples, 1 / self.num_examples, 0.0),
            ragged=self.passes * self.batch_size != self.num_examples,
        )

    def accumulate(self, function: Callable[[Part], Result]) -> Result:
        """The sum of `function(part)` over all parts, one after the other."""
        if self.passes == 1:
            return function(self._whole())
        zeros = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype),
            eqx.filter_eval_shape(lambda r: function(self.part(r)), self._rows()[0]),
        )

        def add(total: Result, rows: Int[Array, " rows"]) -> tuple[Result, None]:
            return jax.tree.map(jnp.add, total, function(self.part(rows))), None

        return jax.lax.scan(add, zeros, self._rows())[0]

    def each(self, function: Callable[[Part], Result]) -> Result:
        """`function(part)` for all parts, one after the other, with the results joined along their
        leading axis and the rows of the padding cut off."""
        if self.passes == 1:
            return function(self._whole())
        results = jax.lax.map(lambda rows: function(self.part(rows)), self._rows())
        join = lambda x: x.reshape(-1, *x.shape[2:])[: self.num_examples]
        return jax.tree.map(join, results)

    def summed(self, map_of: Callable[[Part], Callable[[Vector], Result]]) -> Callable:
        """The sum over all parts of the linear maps `map_of(part)`, as one function of a vector.

        What does not depend on the vector is computed once, now, where there is one part. Several
        parts are taken anew in every application, in the memory of one. Both run in full matrix
        precision.
        """
        return self._applied(map_of, self.accumulate)

    def joined(self, map_of: Callable[[Part], Callable[[Vector], Result]]) -> Callable:
        """As `summed`, but with the results of all parts joined along their leading axis."""
        return self._applied(map_of, self.each)

    def _applied(self, map_of: Callable, over_parts: Callable) -> Callable:
        # The default on recent GPUs keeps 10 bits of a factor: a noise floor of 5e-4 lambda_max.
        # The setting counts where a function is traced, so each stage has to make it.
        with jax.default_matmul_precision("highest"):
            staged = map_of(self._whole()) if self.passes == 1 else None

        def apply(vector: PyTree) -> PyTree:
            with jax.default_matmul_precision("highest"):
                if staged is not None:
                    return staged(vector)
                return over_parts(lambda part: map_of(part)(vector))

        return apply

    def _rows(self) -> Int[Array, "passes batch"]:
        return jnp.arange(self.passes * self.batch_size).reshape(self.passes, self.batch_size)

    def _whole(self) -> Part:
        # Without a gather: the data are not copied.
        return Part(
            inputs=self.inputs,
            targets=self.targets,
            rows=jnp.arange(self.num_examples),
            weights=jnp.full(self.num_examples, 1 / self.num_examples),
            ragged=False,
        )


def hold(risk: Risk, params: PyTree, kept: PyTree[bool]) -> tuple[Risk, PyTree]:
    """The same risk as a function of the parameters that are marked, the others held constant."""
    parameters, constants = split_parameters(params)
    own, others = eqx.partition(parameters, kept)
    forward = _Held(risk.forward, eqx.combine(others, constants))
    return eqx.tree_at(lambda r: r.forward, risk, forward), own


class _Held(eqx.Module):
    forward: Callable[[PyTree, PyTree], PyTree]
    others: PyTree

    def __call__(self, model: PyTree, inputs: PyTree) -> PyTree:
        return self.forward(eqx.combine(model, self.others), inputs)
