"""A set of labelled images."""

from dataclasses import KW_ONLY
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from ...._arguments import as_int, check_count
from ..._base._splits import by_split, Split
from ._held_out_rows import held_out_rows
from ._labelled_data import AbstractLabelledData, shown
from ._part_checks import check_parts_agree
from ._pixel_scale import pixel_scale


Images = UInt8[Array, "rows height width channels"]
Labels = Int[Array, " rows"]


class ImageSet(AbstractLabelledData):
    """Labelled images of one size: training images, held-out test images, and perhaps validation
    images. See `load_images`.

    ```python
    images = tasks.load_images("digits")
    floats = images.train_images / images.max_value
    ```

    Pixels are stored as bytes, which takes a quarter of the memory of floats. Divided by
    `max_value` they lie between 0 and 1.

    **Raises:** `ValueError` if a part has no rows, if the numbers of images and labels of a part
    differ, if two parts have images of different sizes, if images are not bytes
    `[rows, height, width, channels]`, if labels are not integers `[rows]`, as one-hot labels, or
    if a label lies outside `range(num_classes)`.
    """

    name: str = eqx.field(static=True)
    train_images: UInt8[Array, "train height width channels"]
    train_labels: Int[Array, " train"]
    test_images: UInt8[Array, "test height width channels"]
    test_labels: Int[Array, " test"]
    num_classes: int = eqx.field(static=True, converter=as_int)
    max_value: int = eqx.field(static=True, converter=as_int)  # the pixel value that means 1.0
    _: KW_ONLY
    validation_images: UInt8[Array, "validation height width channels"] | None = None
    validation_labels: Int[Array, " validation"] | None = None
    channels_last: ClassVar[bool] = True

    def __check_init__(self):
        check_count("num_classes", self.num_classes)
        check_count("max_value", self.max_value)
        parts = {
            "train": (self.train_images, self.train_labels),
            "test": (self.test_images, self.test_labels),
            "validation": (self.validation_images, self.validation_labels),
        }
        for part, (images, _) in parts.items():
            _check_images(f"{part}_images", images)
        check_parts_agree("images", parts, self.num_classes)

    def part(self, split: Split) -> tuple[Images, Labels]:
        train = self.train_images, self.train_labels
        images, labels = self.validation_images, self.validation_labels
        validation = None if images is None or labels is None else (images, labels)
        test = self.test_images, self.test_labels
        return by_split(split, train=train, held_out=test, validation=validation)

    def input_scale(
        self, *, standardise: bool
    ) -> tuple[Float[Array, " channels"], Float[Array, " channels"]]:
        """Returns one shift and one scale for each channel.

        **Raises:** `ValueError` if a channel to be standardised is constant.
        """
        return pixel_scale(
            self.name,
            self.train_images,
            self.max_value,
            standardise=standardise,
            per_channel=True,
        )

    @property
    def out_size(self) -> int:
        return self.num_classes

    @property
    def has_validation(self) -> bool:
        return self.validation_images is not None


def fewer_images(
    images: ImageSet, *, train_per_class: int | None = None, test_per_class: int | None = None
) -> ImageSet:
    """Returns the first rows of every class, in the order of the set. Validation rows are
    kept.

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
        validation_images=images.validation_images,
        validation_labels=images.validation_labels,
    )


def with_validation(images: ImageSet, num_validation: int) -> ImageSet:
    """Returns the set with `num_validation` of its training rows as validation rows, always the
    same ones, with equal fractions of the classes.

    **Raises:** `ValueError` for fewer rows than classes, or if a class would have no rows.
    """
    pixels, labels = images.part("train")
    kept, held_out = held_out_rows("num_validation", num_validation, np.asarray(labels), seed=0)
    take = lambda rows: (pixels[jnp.asarray(rows)], labels[jnp.asarray(rows)])
    validation_images, validation_labels = take(held_out)
    return ImageSet(
        images.name,
        *take(kept),
        *images.part("held_out"),
        num_classes=images.num_classes,
        max_value=images.max_value,
        validation_images=validation_images,
        validation_labels=validation_labels,
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


def _check_images(name: str, images: Array | None) -> None:
    if images is not None and (images.ndim != 4 or images.dtype != jnp.uint8):
        raise ValueError(
            f"`{name}` is {images.dtype} of shape {images.shape}, but must be uint8 of shape "
            "(rows, height, width, channels): reshape the images, or use `labelled_set` for inputs "
            "of another shape or type."
        )


def check_images(name: str, images: Any, *, instead: str) -> None:
    """`instead` is the stream that takes other labelled data.

    **Raises:** `TypeError` naming what to do, if `images` is not an `ImageSet`.
    """
    if isinstance(images, ImageSet):
        return
    labelled = isinstance(images, AbstractLabelledData)
    step = f"choose `tasks.{instead}`, which takes any labelled set, or" if labelled else "pass"
    raise TypeError(
        f"`{name}` is {shown(images)}, but must be an ImageSet: {step} images from "
        "`tasks.load_images`, or an `ImageSet` of your own."
    )
