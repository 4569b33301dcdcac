"""The mean loss over a set of examples, in as many passes as memory asks for."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._arguments import check_count
from ._convex import Convex
from ._loss import AbstractLoss, total_loss


Result = TypeVar("Result")


class Part(eqx.Module):
    """Examples that are taken in one pass."""

    inputs: PyTree[Array]  # [examples, ...]
    targets: PyTree[Array]  # [examples, ...]
    weights: Float[Array, " examples"]  # they sum to 1 over all parts; 0 for padding
    ragged: bool = eqx.field(static=True)  # some rows may be padding


class Risk(eqx.Module):
    """The mean over N examples of the loss of a network's outputs.

    `risk(model)` is that mean. The Hessian, Gauss-Newton, Fisher, Gram and Kronecker-factored
    matrices of one risk are matrices of the same function, normalised alike: the mean over the
    examples, neither their sum nor a mean over the entries of an output.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import GaussNewton, Hessian, Risk, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    inputs, labels = jnp.ones((10, 3)), jnp.zeros(10, int)
    risk = Risk(forward, SoftmaxCrossEntropy(), inputs, labels, chunk=4)
    residual = Hessian(risk, model) - GaussNewton(risk, model)
    ```

    **Arguments:**

    - `forward`: `(model, inputs) -> outputs`, with leaves `[examples, ...]`; the outputs of an
        example may depend on its own inputs alone, so BatchNorm belongs in inference mode. A
        function at the top of a module, or a Module, so that nothing is compiled twice.
    - `loss`: `SquaredError()`, `SoftmaxCrossEntropy()`, `SigmoidCrossEntropy()`, or any function
        `(outputs, targets) -> losses` that is convex in the outputs, which returns one number for
        each example or their mean and is differentiated.
    - `inputs`, `targets`: pytrees of arrays with a leading axis over the examples.
    - `chunk`: examples in one pass. By default all of them. A last chunk that is not full is padded
        with rows of weight 0, so the result does not depend on the chunk but for rounding.

    **Raises:** `ValueError` if there are no examples, if inputs and targets differ in their
    number, or for a chunk below one.
    """

    forward: Callable[[PyTree, PyTree], PyTree]
    loss: AbstractLoss
    inputs: PyTree[Array]
    targets: PyTree[Array]
    chunk: int = eqx.field(static=True)

    def __init__(
        self,
        forward: Callable[[PyTree, PyTree], PyTree],
        loss: AbstractLoss | Callable,
        inputs: PyTree,
        targets: PyTree,
        *,
        chunk: int | None = None,
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
        examples = leaves[0].shape[0]
        if chunk is not None:
            check_count("chunk", chunk)
        self.chunk = examples if chunk is None else min(chunk, examples)

    @property
    def examples(self) -> int:
        """N, the number of examples."""
        return jax.tree.leaves(self.inputs)[0].shape[0]

    @property
    def passes(self) -> int:
        """Chunks into which the examples are cut."""
        return -(-self.examples // self.chunk)

    def __call__(self, model: PyTree) -> Float[Array, ""]:
        """The mean loss."""
        return self.accumulate(lambda part: self.value(model, part))

    def value(self, model: PyTree, part: Part) -> Float[Array, ""]:
        """What the examples of one part contribute to the mean loss."""
        outputs = self.forward(model, part.inputs)
        return total_loss(self.loss, outputs, part.targets, part.weights, ragged=part.ragged)

    def accumulate(self, function: Callable[[Part], Result]) -> Result:
        """The sum of `function(part)` over all parts, one after the other."""
        if self.passes == 1:
            return function(self._part(jnp.arange(self.examples)))
        rows = jnp.arange(self.passes * self.chunk).reshape(self.passes, self.chunk)
        zeros = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype),
            eqx.filter_eval_shape(lambda r: function(self._part(r)), rows[0]),
        )

        def add(total: Result, r: Array) -> tuple[Result, None]:
            return jax.tree.map(jnp.add, total, function(self._part(r))), None

        return jax.lax.scan(add, zeros, rows)[0]

    def each(self, function: Callable[[Part], Result]) -> Result:
        """`function(part)` for all parts, one after the other, with the results joined along their
        leading axis and the rows of the padding cut off."""
        if self.passes == 1:
            return function(self._part(jnp.arange(self.examples)))
        rows = jnp.arange(self.passes * self.chunk).reshape(self.passes, self.chunk)
        results = jax.lax.map(lambda r: function(self._part(r)), rows)
        return jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:])[: self.examples],
            results,
        )

    def _part(self, rows: Array) -> Part:
        take = lambda x: jnp.take(x, rows, axis=0, mode="clip")
        whole = self.passes == 1
        return Part(
            inputs=self.inputs if whole else jax.tree.map(take, self.inputs),
            targets=self.targets if whole else jax.tree.map(take, self.targets),
            weights=jnp.where(rows < self.examples, 1 / self.examples, 0.0),
            ragged=self.passes * self.chunk != self.examples,
        )
