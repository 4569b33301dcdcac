"""The history of a run: its recorded columns."""

from collections.abc import Iterator, Mapping

import numpy as np

from ._quantity import Quantity


class History(Mapping[str, np.ndarray]):
    """Arrays by name, each with a leading axis over tasks.

    Metrics of training are `[tasks, chunks, ...]`, evaluations `[tasks, ...]`. The value
    `"fraction"` that the probe `"dead"` returns at the end of a task is
    `history["dead.end.fraction"]`. Rows of tasks that the probe did not measure are NaN.

    ```python
    history["test_accuracy"][-20:].mean()
    ```
    """

    def __init__(
        self, columns: Mapping[str, np.ndarray], *, quantities: Mapping[str, Quantity] | None = None
    ):
        self._columns = dict(columns)
        self._quantities = dict(quantities or {})

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        rows = [f"  {name}: {list(a.shape)}" for name, a in sorted(self._columns.items())]
        return "\n".join(["History(", *rows, ")"])

    @property
    def quantities(self) -> dict[str, Quantity]:
        """What the columns are that are meant to be shown, by their names, the main ones first."""
        return dict(self._quantities)

    @property
    def num_tasks(self) -> int:
        """The number of tasks recorded."""
        return max((len(a) for a in self._columns.values()), default=0)


def extend(history: History, rows: Mapping[str, np.ndarray], first: int) -> History:
    """`history` with `rows` set from task `first` onwards. Rows that were never set are NaN."""
    if not rows:
        return history
    columns = dict(history)
    end = max(history.num_tasks, *(first + len(column) for column in rows.values()))
    for name, column in rows.items():
        columns.setdefault(name, column[:0])
    for name, known in columns.items():
        columns[name] = np.full((end, *known.shape[1:]), np.nan, known.dtype)
        columns[name][: len(known)] = known
    for name, column in rows.items():
        columns[name][first : first + len(column)] = column
    return History(columns, quantities=history.quantities)
