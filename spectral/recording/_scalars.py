"""The single numbers of a history, for those who log them task by task."""

from collections.abc import Iterator

import numpy as np

from .._history import History, mean_known


def scalars(
    history: History, member: int | None, first: int, end: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """For the tasks from `first` to before `end`, the finite numbers by name.

    Numbers of a chunk are averaged over the task, over those chunks that have one: in a rollout no
    episode may have ended. From the task on in which a member diverged, all must have one. What is
    no single number for each task or chunk, such as a spectrum, is left out. `member` is one of an
    ensemble's, or `None` for a run alone.
    """
    columns = {n: c if member is None else c[:, member] for n, c in history.items()}
    kept = {n: c for n, c in columns.items() if c.ndim == 1 or (c.ndim == 2 and "." not in n)}
    diverged = np.isfinite(columns.get("diverged_step", np.full(end, np.nan)))
    for task in range(first, end):
        mean = np.mean if diverged[task] else lambda values: mean_known(values[None])[0]
        means = {n: float(mean(c[task])) for n, c in kept.items() if task < len(c)}
        yield task, {name: value for name, value in means.items() if np.isfinite(value)}
