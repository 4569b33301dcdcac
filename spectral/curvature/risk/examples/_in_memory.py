"""Examples that are arrays in the memory of one device."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from ._example_batch import ExampleBatch
from ._examples import AbstractExamples, join_over, Make, sum_over


Result = TypeVar("Result")


class InMemory(AbstractExamples):
    """Arrays with a leading axis over the examples.

    **Raises:** `ValueError` if there are no examples, or if the arrays differ in their number.
    """

    inputs: PyTree[Array]  # [examples, ...]
    targets: PyTree[Array]  # [examples, ...]

    def __init__(self, inputs: PyTree, targets: PyTree):
        self.inputs = jax.tree.map(jnp.asarray, inputs)
        self.targets = jax.tree.map(jnp.asarray, targets)
        check_lengths(self.inputs, self.targets)

    @property
    def num_examples(self) -> int:
        return jax.tree.leaves(self.inputs)[0].shape[0]

    @property
    def at_once(self) -> int:
        return self.num_examples

    @property
    def example(self) -> tuple[PyTree, PyTree]:
        one = lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        return jax.tree.map(one, self.inputs), jax.tree.map(one, self.targets)

    @property
    def arrays(self) -> tuple[PyTree[Array], PyTree[Array]]:
        return self.inputs, self.targets

    def num_batches(self, batch_size: int) -> int:
        return -(-self.num_examples // batch_size)

    def whole(self, make: Make, batch_size: int) -> ExampleBatch | None:
        if self.num_batches(batch_size) > 1:
            return None
        # Without a gather, so the data are not copied.
        return make(self.inputs, self.targets, None, False)

    def take(self, make: Make, batch_size: int, indices: Int[Array, " batch"]) -> ExampleBatch:
        take = lambda x: jnp.take(x, indices, axis=0, mode="clip")
        padded = self.num_batches(batch_size) * batch_size != self.num_examples
        return make(
            jax.tree.map(take, self.inputs), jax.tree.map(take, self.targets), indices, padded
        )

    def accumulate(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        if (whole := self.whole(make, batch_size)) is not None:
            return function(whole)
        batch_of = lambda indices: self.take(make, batch_size, indices)
        return sum_over(self._indices(batch_size), batch_of, function)

    def each(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        if (whole := self.whole(make, batch_size)) is not None:
            return function(whole)
        batch_of = lambda indices: self.take(make, batch_size, indices)
        return join_over(self._indices(batch_size), batch_of, function, self.num_examples)

    def some_inputs(self) -> PyTree:
        return self.inputs

    def targets_in_turn(self) -> Iterator[PyTree]:
        yield self.targets

    def _indices(self, batch_size: int) -> Int[Array, "batches batch"]:
        shape = self.num_batches(batch_size), batch_size
        return jnp.arange(shape[0] * shape[1]).reshape(shape)


def check_lengths(inputs: PyTree, targets: PyTree) -> int:
    """The number of examples. **Raises:** `ValueError` if there are none, or if arrays differ."""
    shapes = [np.shape(x) for x in jax.tree.leaves((inputs, targets))]
    sizes = {shape[0] if shape else None for shape in shapes}
    if len(sizes) != 1 or sizes & {None, 0}:
        raise ValueError(
            f"`inputs` and `targets` have arrays of shapes {shapes}, but all must have the "
            "same leading axis, over at least one example: pass arrays of equal length."
        )
    return shapes[0][0]
