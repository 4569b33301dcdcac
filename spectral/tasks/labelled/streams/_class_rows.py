"""Which rows belong to which class, and in which order classes come."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..sets._image_set import ImageSet


class ClassRows(eqx.Module):
    """The rows of a set of labels, class by class."""

    table: Int[Array, "classes largest"]  # rows of each class, padded with row 0
    counts: Int[Array, " classes"]  # rows of each class

    def __init__(self, labels: Int[Array, " rows"], num_classes: int):
        rows = [np.flatnonzero(np.asarray(labels) == c) for c in range(num_classes)]
        largest = max(len(r) for r in rows)
        self.table = jnp.asarray([np.pad(r, (0, largest - len(r))) for r in rows], dtype=int)
        self.counts = jnp.asarray([len(r) for r in rows], dtype=int)

    def of(self, classes: Int[Array, " k"]) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        """The rows of these classes, followed by rows that do not count; and their number. A class
        of -1 has no rows."""
        counts = jnp.where(classes >= 0, self.counts[classes], 0)
        counted = jnp.arange(self.table.shape[1])[None] < counts[:, None]
        # Stable: the rows keep the order of their classes, and their own.
        order = jnp.argsort(~counted.reshape(-1), stable=True)
        return self.table[classes].reshape(-1)[order], jnp.sum(counts)

    def smallest_task(self, k: int, classes: Int[Array, " some"]) -> int:
        """Rows of the `k` of these classes that have the smallest_task."""
        return int(np.sort(np.asarray(self.counts[classes]))[:k].sum())

    def largest(self, k: int, classes: Int[Array, " some"]) -> int:
        """Rows of the `k` of these classes that have the most."""
        return int(np.sort(np.asarray(self.counts[classes]))[-k:].sum())


def class_order(images: ImageSet, order: tuple[int, ...] | None) -> Int[Array, " some"]:
    """The classes that a stream takes: those in `order`, by default all of them.

    **Raises:** `ValueError` for a class that does not exist or comes twice.
    """
    if order is None:
        return jnp.arange(images.num_classes)
    unknown = [c for c in order if not 0 <= c < images.num_classes]
    twice = [c for c in set(order) if order.count(c) > 1]
    if unknown or twice:
        what = f"class {unknown[0]}" if unknown else f"class {min(twice)} twice"
        raise ValueError(
            f"`order` has {what}, but {images.name!r} has the classes 0 to "
            f"{images.num_classes - 1}, each of which may be there once: change the order."
        )
    return jnp.asarray(order, dtype=int)
