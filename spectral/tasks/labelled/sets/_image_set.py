"""A set of labelled images."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from ...._arguments import check_count
from ..._base._splits import by_split, Split


Images = UInt8[Array, "rows height width channels"]
Labels = Int[Array, " rows"]


class ImageSet(eqx.Module):
    """Labelled images of one size: training images and held-out test images. See `load_images`.

    ```python
    images = tasks.load_images("digits")
    floats = images.train_images / images.max_value
    ```

    Pixels are stored as bytes, which takes a quarter of the memory of floats. Divided by
    `max_value` they lie between 0 and 1.

    **Raises:** `ValueError` if a part has no rows, if the numbers of images and labels of a part
    differ, if the two parts have images of different sizes, or if a label lies outside
    `range(num_classes)`.
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

    def part(self, split: Split) -> tuple[Images, Labels]:
        """Returns the images and the labels of a split.

        **Raises:** `ValueError` for a split that does not exist.
        """
        train = self.train_images, self.train_labels
        return by_split(split, train=train, held_out=(self.test_images, self.test_labels))


def fewer_images(
    images: ImageSet, *, train_per_class: int | None = None, test_per_class: int | None = None
) -> ImageSet:
    """Returns the first rows of every class, in the order of the set.

    ```python
    few = fewer_images(tasks.load_images("digits"), train_per_class=100)
    few.train_images.shape  # (1000, 8, 8, 1)
    ```

    **Arguments:**

    - `train_per_class`, `test_per_class`: the number of training and of test rows to keep of each
      class; by default all. A class that has fewer rows keeps all of them.

    **Raises:** `ValueError` for a number below one.
    """
    return ImageSet(
        images.name,
        *_first_rows("train_per_class", images.part("train"), train_per_class),
        *_first_rows("test_per_class", images.part("held_out"), test_per_class),
        num_classes=images.num_classes,
        max_value=images.max_value,
    )


def _first_rows(
    name: str, part: tuple[Images, Labels], max_rows: int | None
) -> tuple[UInt8[Array, "kept height width channels"], Int[Array, " kept"]]:
    if max_rows is None:
        return part
    check_count(name, max_rows)
    images, labels = part
    # Sort the rows by class; a stable sort keeps the order within each class.
    order = np.argsort(np.asarray(labels), kind="stable")
    _, starts, counts = np.unique(np.asarray(labels)[order], return_index=True, return_counts=True)
    index_in_class = np.arange(len(order)) - np.repeat(starts, counts)
    rows = np.sort(order[index_in_class < max_rows])
    return jnp.asarray(np.asarray(images)[rows]), jnp.asarray(np.asarray(labels)[rows])


def _check_part(part: str, images: Array, labels: Array, num_classes: int) -> None:
    if not len(images) or len(images) != len(labels):
        raise ValueError(
            f"`{part}_images` has {len(images)} rows and `{part}_labels` has {len(labels)}, but "
            "there must be at least one row, and one label for each row: pass arrays of one length."
        )
    low, high = int(np.asarray(labels).min()), int(np.asarray(labels).max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"`{part}_labels` lie between {low} and {high}, but must lie between 0 and "
            f"{num_classes - 1}: change the labels, or `num_classes`, which is {num_classes}."
        )
