"""How much the weights grow in a task."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ..._arguments import unknown_name


def weight_growth(
    history: Mapping[str, np.ndarray], name: str
) -> Float[np.ndarray, " tasks *members"]:
    """Returns the norm of the weights at the end of each task over that at its start, from what a
    probe `WeightNorm` recorded. NaN for tasks in which it did not measure both.

    ```python
    import numpy as np
    from spectral.probes import weight_growth

    columns = {"w.start.norm": np.array([1.0, 2.0]), "w.end.norm": np.array([2.0, 3.0])}
    weight_growth(columns, "w")  # [2.0, 1.5]
    ```

    **Arguments:**

    - `history`: of `train_continual`.
    - `name`: the name of the probe among the `probes` of the run.

    **Raises:** `ValueError` if the history has no such columns.
    """
    columns = [f"{name}.{when}.norm" for when in ("start", "end")]
    for column in columns:
        if column not in history:
            raise ValueError(unknown_name("`history`: Column", column, history))
    start, end = (np.asarray(history[column], float) for column in columns)
    known = start > 0
    return np.where(known, end / np.where(known, start, 1), np.nan)
