"""What is known of a task without any diagnostic."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ..._arguments import unknown_name


def trivial_predictors(
    history: Mapping[str, np.ndarray], outcome: str
) -> dict[str, Float[np.ndarray, " tasks *members"]]:
    """Returns the predictors of an outcome that need no measurement: `task`, the index of the task,
    and `previous`, the outcome of the task before, which is NaN for the first.

    Both rise or fall with most signs of lost plasticity, so a sign that predicts an outcome should
    do so given these. The third trivial predictor is what `StartLoss` records.

    ```python
    import numpy as np
    from spectral.probes import trivial_predictors

    trivial_predictors({"test_accuracy": np.array([0.9, 0.8, 0.6])}, "test_accuracy")
    # {"task": [0, 1, 2], "previous": [NaN, 0.9, 0.8]}
    ```

    **Arguments:**

    - `history`: of `train_continual`.
    - `outcome`: a column with one number for each task, and for each member of an ensemble.

    **Raises:** `ValueError` if the history has no such column.
    """
    if outcome not in history:
        raise ValueError(unknown_name("`outcome`: Column", outcome, history))
    values = np.asarray(history[outcome], float)
    index = np.arange(len(values), dtype=float).reshape(-1, *[1] * (values.ndim - 1))
    previous = np.full(values.shape, np.nan)
    previous[1:] = values[:-1]
    return {"task": np.broadcast_to(index, values.shape).copy(), "previous": previous}
