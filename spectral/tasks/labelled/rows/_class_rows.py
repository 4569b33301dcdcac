"""The rows of each class, and the order in which a stream takes classes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ..._base._splits import by_split, Split
from ..sets._labelled_data import AbstractLabelledData
from ._class_labels import check_classes
from ._labelled_source import LabelledSource
from ._loader import Loader


class ClassRows(eqx.Module):
    """The rows of a set of labels, class by class."""

    table: Int[Array, "classes largest"]  # rows of each class, padded with row 0
    counts: Int[Array, " classes"]  # rows in each class

    def __init__(self, labels: Int[Array, " rows"], num_classes: int):
        rows = [np.flatnonzero(np.asarray(labels) == c) for c in range(num_classes)]
        largest = max(len(r) for r in rows)
        self.table = jnp.asarray([np.pad(r, (0, largest - len(r))) for r in rows], dtype=int)
        self.counts = jnp.asarray([len(r) for r in rows], dtype=int)

    def of(self, classes: Int[Array, " k"]) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        """Returns the rows of these classes followed by padding, and the number of rows. A class of
        -1 has no rows."""
        counts = jnp.where(classes >= 0, self.counts[classes], 0)
        counted = jnp.arange(self.table.shape[1])[None] < counts[:, None]
        # A stable sort keeps the order of the classes, and of the rows within each class.
        order = jnp.argsort(~counted.reshape(-1), stable=True)
        return self.table[classes].reshape(-1)[order], jnp.sum(counts)

    def fewest(self, k: int, classes: Int[Array, " some"]) -> int:
        """Returns the number of rows in the `k` smallest of these classes."""
        return int(np.sort(np.asarray(self.counts)[np.asarray(classes)])[:k].sum())

    def most(self, k: int, classes: Int[Array, " some"]) -> int:
        """Returns the number of rows in the `k` largest of these classes."""
        return int(np.sort(np.asarray(self.counts)[np.asarray(classes)])[-k:].sum())


class ClassPool(eqx.Module):
    """The classes of a labelled set that a stream takes, and their rows.

    **Arguments:**

    - `data`: images or another labelled set.
    - `order`: some or all classes in a fixed order; `None` takes all classes in a random order.

    **Raises:** `ValueError` for labels that are not classes, or for a class in `order` that does
    not exist or occurs twice.
    """

    classes: Int[Array, " some"]
    ordered: bool = eqx.field(static=True)  # False: the order is drawn
    size: str = eqx.field(static=True)  # for messages: "'digits' has 10 classes"
    train: ClassRows
    test: ClassRows
    validation: ClassRows | None

    def __init__(self, data: AbstractLabelledData, order: tuple[int, ...] | None):
        num_classes = check_classes(data)
        classes = tuple(range(num_classes)) if order is None else order
        unknown = [c for c in classes if not 0 <= c < num_classes]
        twice = [c for c in set(classes) if classes.count(c) > 1]
        if unknown or twice:
            what = f"class {unknown[0]}" if unknown else f"class {min(twice)} twice"
            raise ValueError(
                f"`order` has {what}, but must have each of the classes 0 to "
                f"{num_classes - 1} of {data.name!r} at most once: change the order."
            )
        owner = repr(data.name) if order is None else "`order`"
        self.classes = jnp.asarray(classes, dtype=int)
        self.ordered = order is not None
        self.size = f"{owner} has {len(classes)} classes"
        self.train = ClassRows(data.part("train")[1], num_classes)
        self.test = ClassRows(data.part("held_out")[1], num_classes)
        self.validation = None
        if data.has_validation:
            self.validation = ClassRows(data.part("validation")[1], num_classes)

    def order(self, *, key: PRNGKeyArray) -> Int[Array, " some"]:
        """Returns the given order of the classes, or draws one."""
        return self.classes if self.ordered else jax.random.permutation(key, self.classes)

    def rows_of(
        self, classes: Int[Array, " k"], split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        """Returns the rows of these classes followed by padding, and the number of rows."""
        part = by_split(split, train=self.train, held_out=self.test, validation=self.validation)
        return part.of(classes)

    def source(
        self, data: AbstractLabelledData, loader: Loader | None, *, fewest: int, most: int
    ) -> LabelledSource:
        """The source of a stream whose tasks have between `fewest` and `most` classes."""
        fewest_validation = (
            None if self.validation is None else self.validation.fewest(fewest, self.classes)
        )
        return LabelledSource(
            data,
            loader,
            smallest_task=self.train.fewest(fewest, self.classes),
            largest_task=self.train.most(most, self.classes),
            smallest_test=self.test.fewest(fewest, self.classes),
            smallest_validation=fewest_validation,
        )
