"""Checks that the parts of a labelled set fit together."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def check_parts_agree(
    noun: str, parts: dict[str, tuple[Array | None, Array | None]], num_classes: int | None
) -> None:
    """Check the arrays `{part}_{noun}` and `{part}_labels` of every part. A part without arrays is
    left out.

    **Raises:** `ValueError` if a part has no rows, if the numbers of inputs and labels of a part
    differ, if the inputs of two parts differ in shape, or, with `num_classes`, if labels are not
    one integer for each row or a label lies outside `range(num_classes)`.
    """
    first = None
    for part, (inputs, labels) in parts.items():
        if inputs is None and labels is None:
            continue
        if inputs is None or labels is None:
            missing = f"{part}_{noun}" if inputs is None else f"{part}_labels"
            raise ValueError(f"`{missing}` is None, but this part has rows: pass both, or neither.")
        if not len(inputs) or len(inputs) != len(labels):
            raise ValueError(
                f"`{part}_{noun}` has {len(inputs)} rows and `{part}_labels` has {len(labels)}, "
                "but there must be at least one row, and one label for each row: pass arrays of "
                "one length."
            )
        if num_classes is not None:
            _check_classes(part, labels)
            _check_range(part, labels, num_classes)
        first = (part, inputs.shape[1:]) if first is None else first
        if inputs.shape[1:] != first[1]:
            raise ValueError(
                f"`{first[0]}_{noun}` are of shape {first[1]} and `{part}_{noun}` of shape "
                f"{inputs.shape[1:]}, but must agree: resize one of them."
            )


def _check_classes(part: str, labels: Array) -> None:
    if labels.ndim == 1 and jnp.issubdtype(labels.dtype, jnp.integer):
        return
    raise ValueError(
        f"`{part}_labels` is {labels.dtype} of shape {labels.shape}, but must be integers of shape "
        f"({len(labels)},), one class for each row: pass `labels.argmax(axis=1)` for one-hot "
        "labels, `labels.astype(int)` for classes of another type, or use `labelled_set` for "
        "labels that are not classes."
    )


def _check_range(part: str, labels: Array, num_classes: int) -> None:
    low, high = int(np.asarray(labels).min()), int(np.asarray(labels).max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"`{part}_labels` lie between {low} and {high}, but must lie between 0 and "
            f"{num_classes - 1}: change the labels, or `num_classes`, which is {num_classes}."
        )
