"""The kinds of labels: classes, one-hot classes, several answers for each row, numbers."""

import numpy as np
from jaxtyping import Bool, Float, Int

from ._finite import check_finite


LabelArray = (
    Int[np.ndarray, " rows"] | Bool[np.ndarray, "rows outputs"] | Float[np.ndarray, "rows outputs"]
)


def label_kind(
    name: str, labels: np.ndarray, num_classes: int | None
) -> tuple[LabelArray, int | None]:
    """Returns labels in the form of a `LabelledSet`, and the number of classes; `None` if they are
    not classes.

    - Integers or Booleans `[rows]` are classes.
    - Integers `[rows, classes]` are one-hot, and become classes.
    - Booleans `[rows, outputs]` are several answers for each row.
    - Floats `[rows]` or `[rows, outputs]` are numbers.

    **Raises:** `ValueError` for another shape, for a negative class, for rows that are not one-hot,
    for floats that are one-hot, for a NaN or an infinity, or for classes that do not fit
    `num_classes`.
    """
    if labels.ndim not in (1, 2):
        raise ValueError(
            f"`{name}` is of shape {labels.shape}, but must have one axis for the rows, and at "
            "most one for the outputs: reshape it."
        )
    kind = labels.dtype.kind
    if kind == "f" or (kind == "b" and labels.ndim == 2):
        if num_classes is not None:
            raise ValueError(
                f"`num_classes` is {num_classes}, but `{name}` is {labels.dtype} of shape "
                f"{labels.shape}, which are not classes: pass integers, or leave `num_classes` out."
            )
        return (_finite_numbers(name, labels) if kind == "f" else labels), None
    classes = labels.astype(np.int64) if labels.ndim == 1 else _from_one_hot(name, labels)
    if classes.size and classes.min() < 0:
        row = int(np.argmin(classes))
        raise ValueError(
            f"`{name}` is {classes[row]} in row {row}, but classes are integers from 0: number the "
            "classes from 0, and leave out rows without a class."
        )
    found = labels.shape[1] if labels.ndim == 2 else int(classes.max(initial=0)) + 1
    if num_classes is not None and classes.max(initial=0) >= num_classes:
        row = int(np.argmax(classes))
        raise ValueError(
            f"`{name}` is {classes[row]} in row {row}, but classes must lie between 0 and "
            f"{num_classes - 1}: change the labels, or `num_classes`, which is {num_classes}."
        )
    if num_classes is not None and labels.ndim == 2 and num_classes != found:
        raise ValueError(
            f"`num_classes` is {num_classes}, but `{name}` has {found} columns, one for each "
            "class: leave `num_classes` out."
        )
    return classes, found if num_classes is None else num_classes


def check_not_one_hot(name: str, labels: np.ndarray) -> None:
    """Check that Booleans for several answers are not classes by mistake.

    `pandas.get_dummies` returns Booleans for classes. If every row has exactly one True, they are
    almost certainly meant as classes, and the loss of several answers would be another one.

    **Raises:** `ValueError` that names how to pass either.
    """
    several = labels.dtype.kind == "b" and labels.ndim == 2 and labels.shape[1] > 1
    if several and len(labels) and _one_hot(labels).all():
        raise ValueError(
            f"`{name}` is bool of shape {labels.shape} with exactly one True in every row, which "
            "may be one-hot classes or several answers for each row: pass `labels.astype(int)` for "
            "classes, or make a `LabelledSet`, which takes Booleans as several answers."
        )


def _from_one_hot(name: str, labels: np.ndarray) -> Int[np.ndarray, " rows"]:
    wrong = ~_one_hot(labels)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"`{name}` is {labels[row].tolist()} in row {row}, but a row of integers must be "
            "one-hot (one 1, otherwise 0): pass Booleans for several answers in each row, floats "
            "for numbers to predict, or classes of shape (rows,)."
        )
    return labels.argmax(axis=1)


def _finite_numbers(name: str, labels: np.ndarray) -> Float[np.ndarray, "rows outputs"]:
    check_finite(name, labels)
    if labels.ndim == 2 and labels.shape[1] > 1 and _one_hot(labels).all():
        raise ValueError(
            f"`{name}` is {labels.dtype} and one-hot, but floats are numbers to predict: pass "
            "`labels.astype(int)` for classes."
        )
    return labels.reshape(len(labels), -1)


def _one_hot(labels: np.ndarray) -> Bool[np.ndarray, " rows"]:
    return ((labels == 0) | (labels == 1)).all(axis=1) & ((labels == 1).sum(axis=1) == 1)
