"""The mean loss over a set of examples, computed batch by batch to limit the memory."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..._arguments import as_int_or_none, check_count
from ..._base._precision import in_single
from ._convex import Convex
from ._loss import AbstractLoss, total_loss
from ._mean_loss import mean_loss, num_counted
from .examples._batches import Batches
from .examples._example_batch import ExampleBatch
from .examples._examples import AbstractExamples
from .examples._in_memory import InMemory
from .examples._sharded import Sharded


Result = TypeVar("Result")
Vector = TypeVar("Vector")


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
    - `inputs`, `targets`: pytrees of arrays with a leading axis over the examples. `Risk.of` takes
        examples that are elsewhere: read from disk, or divided over devices.
    - `batch_size`: examples in one pass (on each device), by default all. If the last batch is not
        full, it is padded with examples of weight 0. So the batch size changes the result only by
        rounding.
    - `batch_dependent`: accept a `forward` whose outputs depend on the other examples of a batch,
        such as that of a network with BatchNorm in training mode. All numbers then belong to the
        division into batches of `batch_size`, and to no single function of the network. Without
        it, the constructors of operators call `check_batch_independent`.

    **Raises:** `ValueError` if there are no examples, if inputs and targets differ in their
    number, or if `batch_size` is below one.
    """

    forward: Callable[[PyTree, PyTree], PyTree]
    loss: AbstractLoss
    examples: AbstractExamples
    counted: Int[Array, ""] | Float[Array, ""] | None  # labels, where the examples are elsewhere
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
        self.counted = None
        if batch_size is not None:
            check_count("batch_size", batch_size)
        if isinstance(inputs, AbstractExamples):
            _check_not_given(inputs, targets, batch_size)
            self.examples = inputs
            self.counted = num_counted(self.loss, inputs)
        else:
            self.examples = InMemory(inputs, targets)
        most = self.examples.at_once
        self.batch_size = most if batch_size is None else min(batch_size, most)
        self.batch_dependent = batch_dependent

    @classmethod
    def of(
        cls,
        forward: Callable[[PyTree, PyTree], PyTree],
        loss: AbstractLoss | Callable,
        examples: Batches | Sharded,
        *,
        batch_size: int | None = None,
        batch_dependent: bool = False,
    ) -> "Risk":
        """The risk over `Batches`, which have their own batch size, or `Sharded` examples, which
        pass `batch_size` of them at once on each device.

        **Raises:** `ValueError` if `batch_size` is given for `Batches`, or is below one;
        `TypeError` if `examples` is anything else, such as an array.
        """
        if not isinstance(examples, AbstractExamples):
            raise TypeError(
                f"`examples` is a {type(examples).__name__}, but must be `Batches` or `Sharded`: "
                "for arrays call `Risk(forward, loss, inputs, targets)`."
            )
        options: Any = {"batch_size": batch_size, "batch_dependent": batch_dependent}
        return cls(forward, loss, examples, None, **options)

    @property
    def inputs(self) -> PyTree[Array]:
        """The inputs of all examples. **Raises:** `ValueError` if they are not in memory."""
        return self.examples.arrays[0]

    @property
    def targets(self) -> PyTree[Array]:
        """The targets of all examples. **Raises:** `ValueError` if they are not in memory."""
        return self.examples.arrays[1]

    @property
    def num_examples(self) -> int:
        """N, the number of examples."""
        return self.examples.num_examples

    @property
    def num_labels(self) -> int | Int[Array, ""] | Float[Array, ""]:
        """The number of losses that the mean is over, or the sum of their weights if the loss has
        some: N for most losses."""
        if not isinstance(self.examples, InMemory):
            return self.num_examples if self.counted is None else self.counted
        counts = self.loss.counts(self.targets)
        return self.num_examples if counts is None else jnp.sum(counts)

    @property
    def num_batches(self) -> int:
        """The number of batches into which the examples (of each device) are divided."""
        return self.examples.num_batches(self.batch_size)

    def __call__(self, model: PyTree) -> Float[Array, ""]:
        """The mean loss."""
        if isinstance(self.examples, InMemory):
            return self.accumulate(lambda batch: self.value(model, batch))
        return mean_loss((self.forward, self.loss, model), self)

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
        """The examples with these indices; indices beyond the last example are padding.

        **Raises:** `ValueError` if the examples are not in memory.
        """
        return self.examples.take(self._joined, self.batch_size, indices)

    def whole(self) -> ExampleBatch:
        """All examples as one batch. **Raises:** `ValueError` if they are not in memory."""
        return self._joined(*self.examples.arrays, None, False)

    def one(self) -> ExampleBatch:
        """A batch of one example, of which only shapes and dtypes are right."""
        inputs, targets = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.examples.example)
        return self._joined(inputs, targets, jnp.arange(1), False)

    def accumulate(self, function: Callable[[ExampleBatch], Result]) -> Result:
        """The sum of `function(batch)` over all batches, one after the other."""
        return self.examples.accumulate(self._joined, self.batch_size, function)

    def each(self, function: Callable[[ExampleBatch], Result]) -> Result:
        """`function(batch)` for all batches, one after the other.

        The results are joined along their leading axis, without the padding.
        """
        return self.examples.each(self._joined, self.batch_size, function)

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
            whole = self.examples.whole(self._joined, self.batch_size)
            staged = None if whole is None else map_of(whole)

        def apply(vector: PyTree) -> PyTree:
            with jax.default_matmul_precision("highest"):
                if staged is not None:
                    return staged(vector)
                return over_batches(lambda batch: map_of(batch)(vector))

        return apply

    def _joined(
        self,
        inputs: PyTree,
        targets: PyTree,
        indices: Int[Array, " examples"] | None,
        padded: bool,
    ) -> ExampleBatch:
        """Some examples with their weights in the mean; without `indices` all of them."""
        if indices is None:
            indices = jnp.arange(self.num_examples)
            weights = jnp.full(self.num_examples, 1 / self.num_labels)
        else:
            weights = jnp.where(indices < self.num_examples, 1 / self.num_labels, 0.0)
        counts = self.loss.counts(targets)
        fractions = weights if counts is None else weights * counts
        return ExampleBatch(inputs, targets, indices, weights, fractions, padded)


def _check_not_given(inputs: AbstractExamples, targets: PyTree, batch_size: int | None) -> None:
    name = type(inputs).__name__
    if targets is not None:
        raise ValueError(
            f"`targets` is given, but `inputs` is a `{name}`, which contains the targets: call "
            "`Risk.of(forward, loss, examples)`."
        )
    if isinstance(inputs, Batches) and batch_size is not None:
        raise ValueError(
            f"`batch_size` is {batch_size}, but `inputs` is a `Batches` of {inputs.at_once} "
            "examples each: leave `batch_size` out, or make other batches."
        )
