"""Labelled sets from files: NumPy archives and tables."""

import os
import pathlib
import zipfile

import numpy as np
import pandas as pd

from ...._arguments import unknown_name
from ...._base._paths import existing_file
from ._labelled_set import LabelledSet
from ._own_data import labelled_set, Part


_WHOLE = ("inputs", "labels")
_PARTS = ("train", "test", "validation")


def load_arrays(
    path: str | os.PathLike[str],
    *,
    num_test: int | None = None,
    num_validation: int = 0,
    num_classes: int | None = None,
    seed: int = 0,
) -> LabelledSet:
    """Load a labelled set from a `.npz` file.

    The file has the arrays `inputs` and `labels`, which are divided as `labelled_set` does; or
    `train_inputs`, `train_labels`, `test_inputs`, `test_labels` and, if there are validation rows,
    `validation_inputs`, `validation_labels`.

    ```python
    import numpy as np

    np.savez("ten.npz", inputs=np.eye(10), labels=np.arange(10) % 2)
    data = load_arrays("ten.npz", num_test=4)
    data.name  # "ten"
    ```

    **Arguments:**

    - `path`: of the file. Its name without the suffix is the name of the set.
    - `num_test`, `num_validation`, `num_classes`, `seed`: as for `labelled_set`.

    **Raises:** `FileNotFoundError` if there is no such file; `ValueError` if it has no arrays, or
    others than these, and as `labelled_set` does.
    """
    arrays = _read(existing_file("path", path))
    known = {*_WHOLE, *(f"{part}_{what}" for part in _PARTS for what in _WHOLE)}
    for name in arrays:
        if name not in known:
            raise ValueError(unknown_name(f"`path`: Array of {str(path)!r}", name, known))
    prefix = "" if "inputs" in arrays else "train_"
    names = [f"{prefix}{what}" for what in _WHOLE]
    given_parts = [p for p in _PARTS[1:] if any(name.startswith(p) for name in arrays)]
    names += [f"{part}_{what}" for part in given_parts for what in _WHOLE]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"`path` is {str(path)!r}, whose arrays are {sorted(arrays)}, but {missing[0]!r} is "
            "missing: store it with `numpy.savez`."
        )
    given: dict[str, Part] = {
        part: (arrays[f"{part}_inputs"], arrays[f"{part}_labels"]) for part in given_parts
    }
    return labelled_set(
        *(arrays[name] for name in names[:2]),
        name=pathlib.Path(path).stem,
        num_test=num_test,
        num_validation=num_validation,
        num_classes=num_classes,
        seed=seed,
        **given,
    )


def load_table(
    path: str | os.PathLike[str],
    label: str,
    *,
    num_test: int | None = None,
    num_validation: int = 0,
    seed: int = 0,
) -> LabelledSet:
    """Load a labelled set from a CSV file with a header. Every column except one is a feature.

    ```python
    import pathlib

    pathlib.Path("ten.csv").write_text("x,y,kind\\n" + "1,2,a\\n0.5,3,b\\n" * 5)
    data = load_table("ten.csv", "kind", num_test=4)
    data.num_classes  # 2
    ```

    **Arguments:**

    - `path`: of the file. Its name without the suffix is the name of the set.
    - `label`: the column to learn. Text becomes classes in alphabetical order, integers are
      classes, and numbers with a decimal point are numbers to predict.
    - `num_test`, `num_validation`, `seed`: as for `labelled_set`.

    **Raises:** `FileNotFoundError` if there is no such file; `ValueError` if it cannot be read, if
    there is no column `label`, if a feature is text, and as `labelled_set` does.
    """
    try:
        table = pd.read_csv(existing_file("path", path))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`path` is {str(path)!r}, but must be a CSV file with a header ({error}): export the "
            "table again."
        ) from error
    if label not in table:
        raise ValueError(unknown_name("`label`: Column", label, map(str, table.columns)))
    features = table.drop(columns=label)
    text = [c for c in features if not pd.api.types.is_numeric_dtype(features[c])]
    if text:
        raise ValueError(
            f"`path` is {str(path)!r}, whose column {text[0]!r} is not numeric, but features must "
            "be numbers: leave it out, or encode it, for example with `pandas.get_dummies`."
        )
    column = table[label]
    if not pd.api.types.is_numeric_dtype(column) and not column.hasnans:
        column = pd.Series(pd.factorize(column, sort=True)[0])
    return labelled_set(
        features,
        column,
        name=pathlib.Path(path).stem,
        num_test=num_test,
        num_validation=num_validation,
        seed=seed,
    )


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(
            f"`path` is {str(path)!r}, but must be a `.npz` file of plain arrays ({error}): write "
            "it with `numpy.savez(path, inputs=..., labels=...)`."
        ) from error
