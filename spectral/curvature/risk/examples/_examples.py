"""How the batches of a risk are taken, one after the other."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ._example_batch import ExampleBatch


Result = TypeVar("Result")
# Inputs, targets, indices (`None` for all examples), and whether there may be padding.
Make = Callable[[PyTree, PyTree, Int[Array, " examples"] | None, bool], ExampleBatch]


class AbstractExamples(eqx.Module):
    """Where the examples of a risk are.

    `make` is given by the risk. It joins inputs, targets and indices of some examples into an
    `ExampleBatch`, with their weights in the mean.
    """

    @property
    @abstractmethod
    def num_examples(self) -> int:
        """N, the number of examples, without padding."""

    @property
    @abstractmethod
    def at_once(self) -> int:
        """The largest size of a batch, on each device."""

    @property
    @abstractmethod
    def example(self) -> tuple[PyTree, PyTree]:
        """The shapes and dtypes of the inputs and targets of one example, `[1, ...]`."""

    @property
    @abstractmethod
    def arrays(self) -> tuple[PyTree[Array], PyTree[Array]]:
        """The inputs and targets of all examples, without padding.

        **Raises:** `ValueError` if they are not in memory.
        """

    @abstractmethod
    def num_batches(self, batch_size: int) -> int:
        """The number of batches that are taken one after the other."""

    @abstractmethod
    def whole(self, make: Make, batch_size: int) -> ExampleBatch | None:
        """All examples as one batch, if there is only one and it is in one place."""

    @abstractmethod
    def take(self, make: Make, batch_size: int, indices: Int[Array, " batch"]) -> ExampleBatch:
        """The examples with these indices; indices beyond the last example are padding.

        **Raises:** `ValueError` if they are not in memory.
        """

    @abstractmethod
    def accumulate(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        """The sum of `function(batch)` over all batches."""

    @abstractmethod
    def each(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        """`function(batch)` for all batches, joined along their leading axis without padding."""

    @abstractmethod
    def some_inputs(self) -> PyTree:
        """The inputs of some examples, `[examples, ...]`."""

    @abstractmethod
    def targets_in_turn(self) -> Iterator[PyTree]:
        """The targets of all examples, in parts `[examples, ...]` without padding."""


def sum_over(
    xs: PyTree, batch_of: Callable[[Any], ExampleBatch], function: Callable[[ExampleBatch], Result]
) -> Result:
    """The sum of `function(batch_of(x))` over the leading axis of `xs`, one after the other."""
    first = jax.tree.map(lambda x: x[0], xs)
    zeros = jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype),
        eqx.filter_eval_shape(lambda x: function(batch_of(x)), first),
    )

    def add(total: Result, x: PyTree) -> tuple[Result, None]:
        return jax.tree.map(jnp.add, total, function(batch_of(x))), None

    return jax.lax.scan(add, zeros, xs)[0]


def join_over(
    xs: PyTree,
    batch_of: Callable[[Any], ExampleBatch],
    function: Callable[[ExampleBatch], Result],
    num_examples: int,
) -> Result:
    """`function(batch_of(x))` along the leading axis of `xs`, joined for `num_examples`."""
    results = jax.lax.map(lambda x: function(batch_of(x)), xs)
    join = lambda x: x.reshape(-1, *x.shape[2:])[:num_examples]
    return jax.tree.map(join, results)
