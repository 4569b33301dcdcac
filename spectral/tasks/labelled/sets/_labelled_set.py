"""A set of labelled rows of any shape."""

from dataclasses import KW_ONLY
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from ...._arguments import as_int_or_none, check_count
from ..._base._label_loss import Labels
from ..._base._splits import by_split, Split
from ._finite import check_finite
from ._labelled_data import AbstractLabelledData
from ._part_checks import check_parts_agree


Inputs = UInt8[Array, "rows ..."] | Float[Array, "rows ..."]
# The parts have different numbers of rows.
_Inputs = UInt8[Array, "_ ..."] | Float[Array, "_ ..."]
_Labels = Int[Array, " _"] | Bool[Array, "_ _"] | Float[Array, "_ _"]


class LabelledSet(AbstractLabelledData):
    """Labelled rows of any shape: training rows, held-out test rows, and perhaps validation rows.
    `labelled_set` makes one from your arrays, and checks them.

    ```python
    rows, labels = jnp.arange(12.0).reshape(6, 2), jnp.array([0, 1, 2, 0, 1, 2])
    data = LabelledSet("six", rows, labels, rows[:3], labels[:3], num_classes=3)
    data.in_shape  # (2,)
    ```

    A network sees the inputs in the shape in which they are stored. Bytes are scaled to [0, 1],
    floats stay as they are, unless the `Loader` standardises. The type of the labels says what
    they are: integers `[rows]` are classes, Booleans `[rows, outputs]` are several answers for each
    row, floats `[rows, outputs]` are numbers to predict.

    **Raises:** `ValueError` if a part has no rows, if inputs and labels differ in number, if two
    parts have inputs or labels of different shapes or types, if a number is NaN or infinite, if
    inputs have fewer than two axes, if labels do not have the axes above, if a class lies outside
    `range(num_classes)` or has no training rows, or if `num_classes` does not fit the labels.
    """

    name: str = eqx.field(static=True)
    train_inputs: _Inputs
    train_labels: _Labels
    test_inputs: _Inputs
    test_labels: _Labels
    _: KW_ONLY
    num_classes: int | None = eqx.field(
        static=True, default=None, converter=as_int_or_none
    )  # None: not classes
    validation_inputs: _Inputs | None = None
    validation_labels: _Labels | None = None
    channels_last: ClassVar[bool] = False

    def __check_init__(self):
        parts = {
            "train": (self.train_inputs, self.train_labels),
            "test": (self.test_inputs, self.test_labels),
            "validation": (self.validation_inputs, self.validation_labels),
        }
        for part, (inputs, labels) in parts.items():
            _check_inputs(f"{part}_inputs", inputs, self.train_inputs.dtype)
            _check_labels(f"{part}_labels", labels, self.train_labels, self.num_classes)
        check_parts_agree("inputs", parts, self.num_classes)
        if self.num_classes is not None:
            counts = np.bincount(np.asarray(self.train_labels), minlength=self.num_classes)
            if not counts.all():
                raise ValueError(
                    f"`train_labels` has no rows of class {np.argmin(counts)}, but must have some "
                    f"of each of the classes 0 to {self.num_classes - 1}: number the classes that "
                    "exist from 0 without gaps, or keep more rows for training."
                )

    def part(self, split: Split) -> tuple[Inputs, Labels]:
        train = self.train_inputs, self.train_labels
        inputs, labels = self.validation_inputs, self.validation_labels
        validation = None if inputs is None or labels is None else (inputs, labels)
        test = self.test_inputs, self.test_labels
        return by_split(split, train=train, held_out=test, validation=validation)

    def input_scale(self, *, standardise: bool) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Returns one shift and one scale for each entry of an input, by the training rows. An
        entry that is constant over them has the scale 1, so that it becomes 0 there."""
        if not standardise:
            whole = 255.0 if self.train_inputs.dtype == jnp.uint8 else 1.0
            return jnp.zeros(()), jnp.asarray(whole)
        rows = np.asarray(self.train_inputs, np.float64)
        deviation = rows.std(axis=0)
        # The deviation of equal numbers is their rounding error, not a scale.
        constant = (rows == rows[:1]).all(axis=0)
        scale = np.where(constant, 1.0, deviation)
        return jnp.asarray(rows.mean(axis=0), dtype=float), jnp.asarray(scale, dtype=float)

    @property
    def out_size(self) -> int:
        return self.train_labels.shape[1] if self.num_classes is None else self.num_classes

    @property
    def has_validation(self) -> bool:
        return self.validation_inputs is not None


def _check_inputs(name: str, inputs: Array | None, dtype: jnp.dtype) -> None:
    if inputs is None:
        return
    if inputs.ndim < 2:
        raise ValueError(
            f"`{name}` is of shape {inputs.shape}, but must have one axis for the rows and one "
            "or more for the features: reshape it, for example with `inputs[:, None]`."
        )
    if inputs.dtype != dtype:
        raise ValueError(
            f"`{name}` is {inputs.dtype} and `train_inputs` is {dtype}, but must agree: convert "
            "one."
        )
    check_finite(name, np.asarray(inputs))


def _check_labels(name: str, labels: Array | None, train: Array, num_classes: int | None) -> None:
    if labels is None:
        return
    if labels.dtype != train.dtype or labels.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"`{name}` is {labels.dtype} of shape {labels.shape} and `train_labels` is "
            f"{train.dtype} of shape {train.shape}, but must agree in type and number of outputs: "
            "convert one."
        )
    if jnp.issubdtype(labels.dtype, jnp.integer) != (num_classes is not None):
        raise ValueError(
            f"`num_classes` is {num_classes} and `{name}` is {labels.dtype}, but classes are "
            "integers with their number in `num_classes`, and other labels have none: change one."
        )
    if num_classes is not None:
        check_count("num_classes", num_classes)
    elif labels.ndim != 2:
        raise ValueError(
            f"`{name}` is {labels.dtype} of shape {labels.shape}, but labels that are not classes "
            "must be of shape (rows, outputs): reshape it, for example with `labels[:, None]`."
        )
    check_finite(name, np.asarray(labels))
