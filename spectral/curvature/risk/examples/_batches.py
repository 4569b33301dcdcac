"""Examples that are read from disk, one batch at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from ...._arguments import check_count
from ._example_batch import ExampleBatch
from ._examples import AbstractExamples, join_over, Make, sum_over
from ._in_memory import check_lengths
from ._reader import ArraySlices, BatchReader


Result = TypeVar("Result")


class Batches(AbstractExamples):
    """The examples of a `Risk` that do not fit into memory: they are read batch by batch.

    ```python
    import jax
    import jax.numpy as jnp
    import numpy as np
    from spectral.curvature import Batches, Risk, SquaredError

    def forward(w, inputs):
        return jnp.tanh(inputs @ w)

    np.save("inputs.npy", np.ones((100, 3), np.float32))
    inputs = np.load("inputs.npy", mmap_mode="r")
    targets = np.zeros((100, 2), np.float32)
    batches = Batches.of_arrays(inputs, targets, batch_size=32)
    risk = Risk.of(forward, SquaredError(), batches)
    jax.grad(risk)(jnp.ones((3, 2)))  # or any operator and estimator
    ```

    Every product reads all batches once more, in their order, and holds one of them. The numbers
    are those of the same examples in memory with this `batch_size`, to rounding. A last batch that
    is smaller is padded with examples of weight 0.

    The constructor reads all batches, and keeps a checksum (CRC-32) of each. Every later pass is
    compared with it, NaN included. A batch that ends early, or has another size or contents, ends
    the program with an error whose last line names it: a `ValueError` on CPU, otherwise a
    `jax.errors.JaxRuntimeError`. Results of earlier calls are not affected, and the next call
    begins a new pass.

    **Arguments:**

    - `source`: an iterable of pairs `(inputs, targets)` of arrays `[examples, ...]` that can be
        passed again and again: a list, `tfds.as_numpy(data.batch(256))` of a data set loaded with
        `as_supervised=True` and without shuffling, a `DataLoader` of grain or PyTorch, or an object
        whose `__iter__` opens a file. All batches have the size of the first one, except the last.
        The iterable is passed on a thread of the running program, so it must not call JAX.

    A compiled program belongs to one `Batches`: another one, also of the same shapes, is compiled
    again. So construct it once, and use it for all parameters. Programs keep it alive until
    `jax.clear_caches()`.

    **Raises:** `ValueError` if the iterable can be passed only once or has no batches, if a batch
    is not a pair of numbers, or if structure, shapes, dtypes or sizes of its batches differ.
    """

    # The reader is compared by identity, so that no compiled program reads another's batches.
    reader: BatchReader = eqx.field(static=True)

    def __init__(self, source: Iterable[Any]):
        self.reader = BatchReader(source)

    @classmethod
    def of_arrays(cls, inputs: PyTree, targets: PyTree, *, batch_size: int) -> "Batches":
        """Batches of consecutive rows of `numpy.memmap` or other arrays with `shape` and slices.

        **Raises:** `ValueError` if there are no examples, if inputs and targets differ in their
        number, or if `batch_size` is below one.
        """
        check_count("batch_size", batch_size)
        num_examples = check_lengths(inputs, targets)
        return cls(ArraySlices(inputs, targets, num_examples, min(batch_size, num_examples)))

    @property
    def num_examples(self) -> int:
        return sum(self.reader.sizes)

    @property
    def at_once(self) -> int:
        return self.reader.sizes[0]

    @property
    def example(self) -> tuple[PyTree, PyTree]:
        return self._like(1)

    @property
    def arrays(self) -> tuple[PyTree[Array], PyTree[Array]]:
        raise _not_in_memory()

    def num_batches(self, batch_size: int) -> int:
        return len(self.reader.sizes)

    def whole(self, make: Make, batch_size: int) -> ExampleBatch | None:
        if len(self.reader.sizes) > 1:
            return None
        return self._batch(make, jnp.asarray(0))

    def take(self, make: Make, batch_size: int, indices: Int[Array, " batch"]) -> ExampleBatch:
        raise _not_in_memory()

    def accumulate(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        return sum_over(self._places(), lambda i: self._batch(make, i), function)

    def each(
        self, make: Make, batch_size: int, function: Callable[[ExampleBatch], Result]
    ) -> Result:
        batch_of = lambda i: self._batch(make, i)
        return join_over(self._places(), batch_of, function, self.num_examples)

    def some_inputs(self) -> PyTree:
        inputs, _ = jax.tree.unflatten(self.reader.nodes, self.reader.read(0))
        return jax.tree.map(jnp.asarray, inputs)

    def targets_in_turn(self) -> Iterator[PyTree]:
        for _, targets in self.reader.pairs():
            yield jax.tree.map(jnp.asarray, targets)

    def _places(self) -> Int[Array, " batches"]:
        return jnp.arange(len(self.reader.sizes))

    def _like(self, size: int) -> tuple[PyTree, PyTree]:
        shapes = [
            jax.ShapeDtypeStruct((size, *shape), jax.dtypes.canonicalize_dtype(dtype))
            for shape, dtype in self.reader.like
        ]
        return jax.tree.unflatten(self.reader.nodes, shapes)

    def _batch(self, make: Make, place: Int[Array, ""]) -> ExampleBatch:
        size, like = self.at_once, self._like(self.at_once)

        def read(place: Array) -> PyTree:
            return jax.tree.map(
                lambda x, s: _in_halves(_padded(x, size).astype(s.dtype)),
                jax.tree.unflatten(self.reader.nodes, self.reader.read(int(place))),
                like,
            )

        halves = jax.eval_shape(lambda: jax.tree.map(_halves_of, like))
        read_halves = jax.pure_callback(read, halves, place, vmap_method="sequential")
        inputs, targets = jax.tree.map(_joined, read_halves, like)
        padded = len(self.reader.sizes) * size != self.num_examples
        return make(inputs, targets, place * size + jnp.arange(size), padded)


def _not_in_memory() -> ValueError:
    return ValueError(
        "`risk` reads its examples with `Batches`, one batch after the other, but this function "
        "needs single examples in any order, or all of them at once: pass a `Risk` of arrays, of "
        "fewer examples if not all of them fit."
    )


# The thread of a callback does not see `jax.enable_x64` of the one that runs the program, and JAX
# would round numbers of 64 bits there. So they pass as pairs of 32 bits.
def _in_halves(array: np.ndarray) -> np.ndarray:
    if array.dtype.itemsize < 8:
        return array
    return np.ascontiguousarray(array)[..., None].view(np.uint32)


def _halves_of(like: jax.ShapeDtypeStruct) -> Array:
    if like.dtype.itemsize < 8:
        return jnp.zeros(like.shape, like.dtype)
    return jnp.zeros((*like.shape, 2), jnp.uint32)


def _joined(halves: Array, like: jax.ShapeDtypeStruct) -> Array:
    if like.dtype.itemsize < 8:
        return halves
    return jax.lax.bitcast_convert_type(halves, like.dtype)


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """The array with its last row repeated up to `size` rows."""
    missing = size - array.shape[0]
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
