"""Reading the batches of an iterable again and again, and comparing each with its first pass."""

import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


Leaves = list[np.ndarray]


class ArraySlices:
    """Arrays that are read in slices of `batch_size` rows, such as `numpy.memmap`."""

    def __init__(self, inputs: PyTree, targets: PyTree, num_examples: int, batch_size: int):
        self._arrays = inputs, targets
        self._num_examples, self._batch_size = num_examples, batch_size

    def __iter__(self) -> Iterator[Any]:
        return self.start_at(0)

    def start_at(self, index: int) -> Iterator[Any]:
        """The batches from this one on."""
        for first in range(index * self._batch_size, self._num_examples, self._batch_size):
            rows = slice(first, min(first + self._batch_size, self._num_examples))
            yield jax.tree.map(lambda x, rows=rows: x[rows], self._arrays)


class BatchReader:
    """The batches of an iterable, in any order; each is compared with the first pass by a checksum.

    It belongs to the host. Its lock makes it safe for programs in several threads.

    **Raises:** `ValueError` if the iterable can be passed only once or has no batches, if its
    batches are not pairs of arrays of one structure, or if a batch but the last is smaller.
    """

    def __init__(self, source: Iterable[Any]):
        self._source = source
        self._lock = threading.Lock()
        if iter(source) is source:
            raise ValueError(
                f"`source` is a {type(source).__name__}, which can be passed only once, but every "
                "product passes all batches again: pass a list, a data set or an object whose "
                "`__iter__` starts again."
            )
        self.sizes: list[int] = []  # examples in each batch
        self._sums: list[int] = []
        for index, batch in enumerate(source):
            leaves, nodes = _pair(batch, index)
            if index == 0:
                self.nodes = nodes
                self.like = [(x.shape[1:], x.dtype) for x in leaves]
            size = self._checked_size(leaves, nodes, index)
            if index and (self.sizes[-1] < self.sizes[0] or size > self.sizes[0]):
                small = index - 1 if self.sizes[-1] < self.sizes[0] else index
                raise ValueError(
                    f"`source` has {(*self.sizes, size)[small]} examples in batch {small}, but "
                    f"{self.sizes[0]} in batch 0, and only the last batch may be smaller: make "
                    "batches of one size."
                )
            self.sizes.append(size)
            self._sums.append(_checksum(leaves))
        if not self.sizes:
            raise ValueError("`source` has no batches, but must have at least one: pass a list.")
        self._begin_again()

    def read(self, index: int) -> Leaves:
        """The arrays of one batch, without padding.

        **Raises:** `ValueError` naming the batch if it is not what it was in the first pass.
        """
        with self._lock:
            try:
                return self._read(index)
            except BaseException:
                self._begin_again()
                raise

    def pairs(self) -> Iterator[PyTree]:
        """The pairs (inputs, targets) of one pass, without padding."""
        for index in range(len(self.sizes)):
            yield jax.tree.unflatten(self.nodes, self.read(index))

    def _read(self, index: int) -> Leaves:
        if index < self._next:
            self._passing, self._next = self._start(index)
        while True:
            try:
                batch = next(self._passing)
            except StopIteration:
                raise ValueError(
                    f"`source` ended before batch {self._next}, but had {len(self.sizes)} batches "
                    "in its first pass: every pass must have the same batches."
                ) from None
            self._next += 1
            if self._next > index:
                break
        leaves, nodes = _pair(batch, index)
        size = self._checked_size(leaves, nodes, index)
        if size != self.sizes[index]:
            raise ValueError(
                f"`source` has {size} examples in batch {index}, but had {self.sizes[index]} in "
                "its first pass: every pass must have the same batches."
            )
        if _checksum(leaves) != self._sums[index]:
            raise ValueError(
                f"`source` has other contents in batch {index} than in its first pass, but every "
                "pass must have the same examples in the same order: switch off shuffling and "
                "random augmentation, and write no file that is being read."
            )
        if index + 1 == len(self.sizes) and next(self._passing, None) is not None:
            raise ValueError(
                f"`source` has a batch {index + 1}, but had {index + 1} batches in its first pass: "
                "every pass must have the same batches."
            )
        return leaves

    def _begin_again(self) -> None:
        self._passing: Iterator[Any] = iter(())
        self._next = len(self.sizes)  # the index of the batch that `_passing` has next

    def _start(self, index: int) -> tuple[Iterator[Any], int]:
        if isinstance(self._source, ArraySlices):
            return self._source.start_at(index), index
        return iter(self._source), 0

    def _checked_size(self, leaves: Leaves, nodes: Any, index: int) -> int:
        like = [(x.shape[1:], x.dtype) for x in leaves]
        if nodes != self.nodes or like != self.like:
            show = lambda kinds: [f"{dtype} [examples, {str(shape)[1:]}" for shape, dtype in kinds]
            raise ValueError(
                f"`source` has {show(like)} in batch {index}, but {show(self.like)} in batch 0, "
                "and all batches must have the same structure, shapes and dtypes."
            )
        return leaves[0].shape[0]


def _pair(batch: Any, index: int) -> tuple[Leaves, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(
            f"`source` has a {type(batch).__name__} as batch {index}, but each batch must be a "
            "pair (inputs, targets) of arrays: map the data set to pairs."
        )
    leaves, nodes = jax.tree.flatten(tuple(batch))
    arrays = [np.asarray(leaf) for leaf in leaves]
    sizes = {x.shape[0] if x.ndim else None for x in arrays}
    numbers = all(x.dtype.kind in "biuf" or x.dtype.name == "bfloat16" for x in arrays)
    if len(sizes) != 1 or sizes & {None, 0} or not numbers:
        raise ValueError(
            f"`source` has arrays {[f'{x.dtype} {x.shape}' for x in arrays]} in batch {index}, but "
            "inputs and targets must be numbers with the same leading axis, over at least one "
            "example."
        )
    return arrays, nodes


def _checksum(leaves: Leaves) -> int:
    """Of the bytes, so that NaN is equal to itself."""
    total = 0
    for leaf in leaves:
        total = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, total)
    return total
