"""The mean loss over a set of examples, computed batch by batch to limit the memory."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..._arguments import as_int_or_none, check_count
from ..._base._precision import in_single
from ._convex import Convex
from ._loss import AbstractLoss, total_loss
from ._parameters import split_parameters


Result = TypeVar("Result")
Vector = TypeVar("Vector")


class ExampleBatch(eqx.Module):
    """The examples of one pass."""

    inputs: PyTree[Array]  # [examples, ...]
    targets: PyTree[Array]  # [examples, ...]
    indices: Int[Array, " examples"]  # in the whole data set; beyond its end for padding
    weights: Float[Array, " examples"]  # of the losses in the mean; 0 for padding
    fractions: Float[Array, " examples"]  # of all labels that count; they sum to 1 over all batches
    padded: bool = eqx.field(static=True)  # some examples may be padding


class Risk(eqx.Module):
    """The mean over N examples of the loss of a network's outputs.

    `risk(model)` is that mean. The Hessian, Gauss-Newton, Fisher, Gram and Kronecker-factored
    matrices of a risk all belong to this one function and have its normalisation. It is the mean
    over the examples, or over the labels for a loss with several labels for each example or with
    labels that do not count (see `SoftmaxCrossEntropy`). It is neither their sum, which is
    `risk.num_labels * operator`, nor a mean over the entries of an output.

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

    - `forward`: `(model, inputs) -> outputs`, with leaves `[examples, ...]`. The outputs of an
        example must depend on its own inputs only, so BatchNorm must be in inference mode. Pass a
        function defined at module level, or a Module (whose fields may hold the state of
        BatchNorm), so that nothing is compiled twice. Floating-point arrays in the model, the
        inputs and the fields of `forward` are passed in float32 at least, and the outputs are
        used so, whatever their precision.
    - `loss`: `SquaredError()`, `SoftmaxCrossEntropy()`, `SigmoidCrossEntropy()`, or any function
        `(outputs, targets) -> losses` that is convex in the outputs. The function is
        differentiated. It returns one number for each example or their mean. It must not return
        their sum, which looks like a mean and would count N times too much.
    - `inputs`, `targets`: pytrees of arrays with a leading axis over the examples.
    - `batch_size`: examples in one pass, by default all. If the last batch is not full, it is
        padded with examples of weight 0. So the batch size changes the result only by rounding.
    - `batch_dependent`: accept a `forward` whose outputs depend on the other examples of a batch,
        such as that of a network with BatchNorm in training mode. All numbers then belong to the
        division into batches of `batch_size`, and to no single function of the network. Without
        it, the constructors of operators call `check_batch_independent`.

    **Raises:** `ValueError` if there are no examples, if inputs and targets differ in their
    number, or if `batch_size` is below one.
    """

    forward: Callable[[PyTree, PyTree], PyTree]
    loss: AbstractLoss
    inputs: PyTree[Array]
    targets: PyTree[Array]
    batch_size: int = eqx.field(static=True, converter=as_int_or_none)
    batch_dependent: bool = eqx.field(static=True)

    def __init__(
        self,
        forward: Callable[[PyTree, PyTree], PyTree],
        loss: AbstractLoss | Callable,
        inputs: PyTree,
        targets: PyTree,
        *,
        batch_size: int | None = None,
        batch_dependent: bool = False,
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
                "same leading axis, over at least one example: pass arrays of equal length."
            )
        num_examples = leaves[0].shape[0]
        if batch_size is not None:
            check_count("batch_size", batch_size)
        self.batch_size = num_examples if batch_size is None else min(batch_size, num_examples)
        self.batch_dependent = batch_dependent

    @property
    def num_examples(self) -> int:
        """N, the number of examples."""
        return jax.tree.leaves(self.inputs)[0].shape[0]

    @property
    def num_labels(self) -> int | Int[Array, ""] | Float[Array, ""]:
        """The number of losses that the mean is over, or the sum of their weights if the loss has
        some: N for most losses."""
        counts = self.loss.counts(self.targets)
        return self.num_examples if counts is None else jnp.sum(counts)

    @property
    def num_batches(self) -> int:
        """The number of batches into which the examples are divided."""
        return -(-self.num_examples // self.batch_size)

    def __call__(self, model: PyTree) -> Float[Array, ""]:
        """The mean loss."""
        return self.accumulate(lambda batch: self.value(model, batch))

    def outputs(self, model: PyTree, batch: ExampleBatch) -> PyTree:
        """The network's outputs for the examples of one batch.

        **Raises:** `ValueError` unless they are floating-point arrays `[examples, ...]`.
        """
        forward, model, inputs = in_single((self.forward, model, batch.inputs))
        outputs = in_single(forward(model, inputs))
        num_examples, leaves = batch.indices.shape[0], jax.tree.leaves(outputs)
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

    def value(self, model: PyTree, batch: ExampleBatch) -> Float[Array, ""]:
        """The contribution of the examples of one batch to the mean loss."""
        outputs = self.outputs(model, batch)
        return total_loss(self.loss, outputs, batch.targets, batch.weights, padded=batch.padded)

    def batch(self, indices: Int[Array, " examples"]) -> ExampleBatch:
        """The examples with these indices; indices beyond the last example are padding."""
        take = lambda x: jnp.take(x, indices, axis=0, mode="clip")
        targets = jax.tree.map(take, self.targets)
        weights = jnp.where(indices < self.num_examples, 1 / self.num_labels, 0.0)
        return ExampleBatch(
            inputs=jax.tree.map(take, self.inputs),
            targets=targets,
            indices=indices,
            weights=weights,
            fractions=self._fractions(weights, targets),
            padded=self.num_batches * self.batch_size != self.num_examples,
        )

    def whole(self) -> ExampleBatch:
        """All examples as one batch."""
        # Without a gather, so the data are not copied.
        weights = jnp.full(self.num_examples, 1 / self.num_labels)
        return ExampleBatch(
            inputs=self.inputs,
            targets=self.targets,
            indices=jnp.arange(self.num_examples),
            weights=weights,
            fractions=self._fractions(weights, self.targets),
            padded=False,
        )

    def accumulate(self, function: Callable[[ExampleBatch], Result]) -> Result:
        """The sum of `function(batch)` over all batches, one after the other."""
        if self.num_batches == 1:
            return function(self.whole())
        zeros = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype),
            eqx.filter_eval_shape(lambda i: function(self.batch(i)), self._indices()[0]),
        )

        def add(total: Result, indices: Int[Array, " batch"]) -> tuple[Result, None]:
            return jax.tree.map(jnp.add, total, function(self.batch(indices))), None

        return jax.lax.scan(add, zeros, self._indices())[0]

    def each(self, function: Callable[[ExampleBatch], Result]) -> Result:
        """`function(batch)` for all batches, one after the other.

        The results are joined along their leading axis, without the padding.
        """
        if self.num_batches == 1:
            return function(self.whole())
        results = jax.lax.map(lambda indices: function(self.batch(indices)), self._indices())
        join = lambda x: x.reshape(-1, *x.shape[2:])[: self.num_examples]
        return jax.tree.map(join, results)

    def summed(self, map_of: Callable[[ExampleBatch], Callable[[Vector], Result]]) -> Callable:
        """The sum over all batches of the linear maps `map_of(batch)`, as a function of a vector.

        With a single batch, `map_of` is called now, so everything that does not depend on the
        vector is computed once. With several batches, `map_of` is evaluated again in every
        application, in the memory of one batch. Both run in full matrix precision.
        """
        return self._applied(map_of, self.accumulate)

    def joined(self, map_of: Callable[[ExampleBatch], Callable[[Vector], Result]]) -> Callable:
        """Like `summed`, but the results of all batches are joined along their leading axis."""
        return self._applied(map_of, self.each)

    def _applied(self, map_of: Callable, over_batches: Callable) -> Callable:
        # The default on recent GPUs keeps 10 bits of a factor: a noise floor of 5e-4 lambda_max.
        # The setting acts where a function is traced, so both stages need it.
        with jax.default_matmul_precision("highest"):
            staged = map_of(self.whole()) if self.num_batches == 1 else None

        def apply(vector: PyTree) -> PyTree:
            with jax.default_matmul_precision("highest"):
                if staged is not None:
                    return staged(vector)
                return over_batches(lambda batch: map_of(batch)(vector))

        return apply

    def _fractions(
        self, weights: Float[Array, " examples"], targets: PyTree
    ) -> Float[Array, " examples"]:
        counts = self.loss.counts(targets)
        return weights if counts is None else weights * counts

    def _indices(self) -> Int[Array, "batches batch"]:
        shape = self.num_batches, self.batch_size
        return jnp.arange(self.num_batches * self.batch_size).reshape(shape)


def hold(risk: Risk, params: PyTree, kept: PyTree[bool]) -> tuple[Risk, PyTree]:
    """The same risk as a function of the marked parameters only; the others are held constant."""
    parameters, constants = split_parameters(params)
    own, others = eqx.partition(parameters, kept)
    forward = Held(risk.forward, eqx.combine(others, constants))
    return eqx.tree_at(lambda r: r.forward, risk, forward), own


class Held(eqx.Module):
    forward: Callable[[PyTree, PyTree], PyTree]
    others: PyTree

    def __call__(self, model: PyTree, inputs: PyTree) -> PyTree:
        return self.forward(eqx.combine(model, self.others), inputs)
