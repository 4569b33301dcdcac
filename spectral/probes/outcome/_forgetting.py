"""How much a network has forgotten."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ..._arguments import unknown_name


def forgetting(
    history: Mapping[str, np.ndarray], name: str, *, metric: str = "test_accuracy"
) -> Float[np.ndarray, " tasks *members"]:
    """Returns the mean forgetting of earlier tasks, from what a probe `Retention` recorded.

    The forgetting of an earlier task is the best accuracy on it that was recorded before, at the
    end of that task or later, minus the accuracy now. The mean is over the tasks that the probe
    evaluated; it is NaN where there are none. (Chaudhry et al. 2018, equation 3, for the last tasks
    instead of all.)

    ```python
    import numpy as np
    from spectral.probes import forgetting

    columns = {"test_accuracy": np.array([0.9, 0.8]), "r.end.accuracy": np.array([[np.nan], [0.6]])}
    forgetting(columns, "r")  # [NaN, 0.3]
    ```

    **Arguments:**

    - `history`: of `train_continual`.
    - `name`: the name of the probe among the `probes` of the run, which measured at the end.
    - `metric`: the `metric` of the probe.

    **Raises:** `ValueError` if the history has no such columns.
    """
    column = f"{name}.end.accuracy"
    for needed in (column, metric):
        if needed not in history:
            raise ValueError(unknown_name("`history`: Column", needed, history))
    recorded, best = np.asarray(history[column]), np.array(history[metric], float)
    lost = np.full(recorded.shape, np.nan)
    for task in range(len(recorded)):
        for i in range(min(task, recorded.shape[-1])):
            now, earlier = recorded[task, ..., i], task - 1 - i
            lost[task, ..., i] = best[earlier] - now
            best[earlier] = np.fmax(best[earlier], now)
    known = np.isfinite(lost)
    total, count = np.where(known, lost, 0).sum(axis=-1), known.sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
