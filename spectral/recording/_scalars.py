"""The scalars of a history, task by task, for meters that log them."""

from collections.abc import Iterator

import numpy as np

from .._base._quantity import mean_known
from .._history import History


class NewScalars:
    """The scalars of the tasks that were finished since the last call. The first call has those of
    all tasks, also of those before the run was resumed.

    - `num_members`: of an ensemble; `None` for a single run.
    """

    def __init__(self, num_members: int | None):
        self._members = (None,) if num_members is None else range(num_members)
        self._done = 0

    def __call__(self, done: int, history: History) -> list[Iterator[tuple[int, dict[str, float]]]]:
        """Returns for each member the new tasks with their scalars by name."""
        first, self._done = self._done, done
        return [_scalars(history, member, first, done) for member in self._members]


def _scalars(
    history: History, member: int | None, first: int, end: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Yields each task from `first` to `end` (exclusive) with its finite scalars by name.

    A column with one value per chunk gives its mean over the chunks of the task. Chunks without a
    value are left out of the mean, because no episode may end in a rollout. From the task on in
    which the member diverged, a chunk without a value makes the mean NaN. Columns with further
    axes, such as spectra, are left out.
    """
    columns = {n: c if member is None else c[:, member] for n, c in history.items()}
    kept = {n: c for n, c in columns.items() if c.ndim == 1 or (c.ndim == 2 and "." not in n)}
    diverged = np.isfinite(columns.get("diverged_step", np.full(end, np.nan)))
    for task in range(first, end):
        mean = np.mean if diverged[task] else lambda values: mean_known(values[None])[0]
        means = {n: float(mean(c[task])) for n, c in kept.items() if task < len(c)}
        yield task, {name: value for name, value in means.items() if np.isfinite(value)}
