"""A labelled set from your arrays."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...._arguments import check_count
from ._finite import check_finite
from ._held_out_rows import held_out_rows
from ._label_kinds import check_not_one_hot, label_kind
from ._labelled_set import LabelledSet
from ._numbers import numbers


Part = tuple[Any, Any]  # inputs and labels


def labelled_set(
    inputs: Any,
    labels: Any,
    *,
    name: str = "own data",
    test: Part | None = None,
    validation: Part | None = None,
    num_test: int | None = None,
    num_validation: int = 0,
    num_classes: int | None = None,
    seed: int = 0,
) -> LabelledSet:
    """Make a labelled set from arrays of NumPy, JAX, PyTorch (on the CPU), pandas or scikit-learn.

    ```python
    from sklearn.datasets import load_wine

    wine = load_wine()
    data = labelled_set(wine.data, wine.target, name="wine", num_test=36)
    data.train_inputs.shape  # (142, 13)
    ```

    **Arguments:**

    - `inputs`: features of shape `[rows, ...]`. `uint8` stays bytes; all other numbers become
      floats.
    - `labels`: integers `[rows]`, or one-hot integers `[rows, classes]`, are classes. Booleans
      `[rows, outputs]` are several answers for each row; they are rejected if every row has exactly
      one True, as `pandas.get_dummies` returns classes. Floats `[rows]` or `[rows, outputs]` are
      numbers to predict.
    - `name`: for messages.
    - `test`, `validation`: inputs and labels of these parts, if you have them.
    - `num_test`: without `test`, the number of rows that are held out as test rows. By default a
      fifth, or as many as there are classes if these are more.
    - `num_validation`: without `validation`, the number of rows that are held out of the training
      rows as validation rows.
    - `num_classes`: by default one more than the largest class.
    - `seed`: of the rows that are held out. Classes are held out in proportion to their rows.

    **Raises:** `ValueError` for missing or infinite values, for text, for shapes that disagree, for
    labels of no kind, for one-hot Booleans, for classes without training rows, for a part that is
    given and counted, or for more rows to hold out than there are.
    """
    check_count("num_validation", num_validation, minimum=0)
    check_not_one_hot("labels", numbers("labels", labels))
    rows, answers, classes = _checked("", (inputs, labels), num_classes)
    parts = {"train": (rows, answers)}
    for part, given, count in (
        ("test", test, num_test),
        ("validation", validation, num_validation or None),
    ):
        if given is not None and count is not None:
            raise ValueError(
                f"`num_{part}` is {count} and `{part}` is given, but at most one can be: leave one "
                "out."
            )
        if given is not None:
            parts[part] = _checked(f"{part} ", given, classes)[:2]
        elif count is not None or part == "test":
            count = max(len(rows) // 5, classes or 1) if count is None else count
            parts |= _divided(part, *parts["train"], count, seed)
    fields = {k: v for p in parts for k, v in _fields(p, *parts[p]).items()}
    return LabelledSet(name, **fields, num_classes=classes)


def _checked(
    part: str, given: Part, num_classes: int | None
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Inputs, labels and the number of classes; messages name the part ("test ")."""
    inputs, labels = numbers(f"{part}inputs", given[0]), numbers(f"{part}labels", given[1])
    check_finite(f"{part}inputs", inputs)
    answers, classes = label_kind(f"{part}labels", labels, num_classes)
    if len(inputs) != len(answers) or not len(inputs):
        raise ValueError(
            f"`{part}inputs` has {len(inputs)} rows and `{part}labels` has {len(answers)}, but "
            "there must be at least one row, and one label for each row: pass arrays of one length."
        )
    return inputs, answers, classes


def _divided(
    part: str, inputs: np.ndarray, labels: np.ndarray, count: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    kept, held_out = held_out_rows(f"num_{part}", count, labels, seed=seed)
    return {"train": (inputs[kept], labels[kept]), part: (inputs[held_out], labels[held_out])}


def _fields(part: str, inputs: np.ndarray, labels: np.ndarray) -> dict[str, Array]:
    """The arguments of `LabelledSet` for a part."""
    dtype = {"i": int, "f": float, "b": bool}[labels.dtype.kind]
    with np.errstate(over="ignore"):  # `LabelledSet` rejects the infinities
        stored = jnp.asarray(inputs, dtype=inputs.dtype if inputs.dtype == np.uint8 else float)
    return {f"{part}_inputs": stored, f"{part}_labels": jnp.asarray(labels, dtype=dtype)}
