"""Labelled images, as task streams take them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from ...._arguments import check_count


class ImageSet(eqx.Module):
    """Labelled images of one size: those to train on, and those held out. See `load_images`.

    ```python
    images = tasks.load_images("digits")
    floats = images.train_images / images.max_value
    ```

    Pixels stay integers, a quarter of the memory of floats; divided by `max_value` they lie
    between 0 and 1.

    **Raises:** `ValueError` if a part has no rows, if rows and labels differ in number, if the
    parts differ in the size of their images, or if a label lies outside `range(num_classes)`.
    """

    name: str = eqx.field(static=True)
    train_images: UInt8[Array, "train height width channels"]
    train_labels: Int[Array, " train"]
    test_images: UInt8[Array, "test height width channels"]
    test_labels: Int[Array, " test"]
    num_classes: int = eqx.field(static=True)
    max_value: int = eqx.field(static=True)  # the pixel value that means 1.0

    def __check_init__(self):
        check_count("num_classes", self.num_classes)
        check_count("max_value", self.max_value)
        _check_part("train", self.train_images, self.train_labels, self.num_classes)
        _check_part("test", self.test_images, self.test_labels, self.num_classes)
        train, test = self.train_images.shape[1:], self.test_images.shape[1:]
        if train != test:
            raise ValueError(
                f"`train_images` are of shape {train} and `test_images` of shape {test}, but must "
                "agree: resize one of them."
            )


def fewer_images(
    images: ImageSet, *, train_per_class: int | None = None, test_per_class: int | None = None
) -> ImageSet:
    """The first rows of every class, in the order of the set, and nothing else.

    ```python
    few = fewer_images(tasks.load_images("digits"), train_per_class=100)
    few.train_images.shape  # (1000, 8, 8, 1)
    ```

    **Arguments:**

    - `train_per_class`, `test_per_class`: rows of each class to train on and held out, by default
      all. Classes that have fewer keep what they have.

    **Raises:** `ValueError` for a number below one.
    """
    train = _first_rows("train_per_class", images.train_labels, train_per_class)
    test = _first_rows("test_per_class", images.test_labels, test_per_class)
    return ImageSet(
        images.name,
        images.train_images[train],
        images.train_labels[train],
        images.test_images[test],
        images.test_labels[test],
        num_classes=images.num_classes,
        max_value=images.max_value,
    )


def _first_rows(
    name: str, labels: Int[Array, " rows"], max_rows: int | None
) -> Int[Array, " kept"]:
    if max_rows is None:
        return jnp.arange(len(labels))
    check_count(name, max_rows)
    # Rows by class, each class in the order of its rows.
    order = np.argsort(np.asarray(labels), kind="stable")
    _, starts, counts = np.unique(np.asarray(labels)[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    return jnp.asarray(np.sort(order[place < max_rows]))


def _check_part(part: str, images: Array, labels: Array, num_classes: int) -> None:
    if not len(images) or len(images) != len(labels):
        raise ValueError(
            f"`{part}_images` has {len(images)} rows and `{part}_labels` has {len(labels)}, but "
            "there must be at least one row, and one label for each: pass such arrays."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"`{part}_labels` lie between {low} and {high}, but must lie between 0 and "
            f"{num_classes - 1}: change the labels, or `num_classes`, which is {num_classes}."
        )
