"""Rows that are held out of others, with a seed."""

import numpy as np
from jaxtyping import Int

from ...._arguments import check_count


def held_out_rows(
    name: str, num_held_out: int, labels: np.ndarray, *, seed: int
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " held_out"]]:
    """Returns the rows that are kept and `num_held_out` rows that are held out, each in the order
    of the set. The draw depends on `seed` only.

    Integer labels `[rows]` are classes: each is held out in proportion to its rows. Other rows are
    drawn uniformly.

    **Arguments:**

    - `name`: of the argument `num_held_out`, for messages.

    **Raises:** `ValueError` if no row would be left, if a class has fewer than two rows, or if
    there are fewer rows on a side than classes.
    """
    # Imported here because scikit-learn takes a second to load.
    from sklearn.model_selection import train_test_split

    total = len(labels)
    classes = labels if labels.ndim == 1 and labels.dtype.kind == "i" else None
    check_count(name, num_held_out)
    names, counts = np.unique(labels, return_counts=True) if classes is not None else ([0], [2])
    low, high = len(names), total - len(names)
    if min(counts) < 2:
        raise ValueError(
            f"Class {names[np.argmin(counts)]} has 1 row, but must have at least 2, so that "
            f"`{name}` can hold one out: add rows, leave the class out, or pass the parts yourself."
        )
    if not low <= num_held_out <= high:
        what = f"rows of {len(names)} classes" if classes is not None else "rows"
        raise ValueError(
            f"`{name}` is {num_held_out}, but must lie between {low} and {high} for {total} "
            f"{what}: choose one of these, or pass the parts yourself."
        )
    kept, held_out = train_test_split(
        np.arange(total), test_size=num_held_out, random_state=seed, stratify=classes
    )
    return np.sort(kept), np.sort(held_out)
