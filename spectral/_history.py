"""The history of a run: its recorded columns."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, TYPE_CHECKING

import numpy as np

from ._base._axes import frame_of, further_axes
from ._base._quantity import mean_known, Quantity


if TYPE_CHECKING:
    import pandas
    import xarray


class History(Mapping[str, np.ndarray]):
    """Arrays by name, each with a leading axis over tasks.

    Metrics of training are `[tasks, chunks, ...]`, evaluations `[tasks, ...]`. The value
    `"fraction"` that the probe `"dead"` returns at the end of a task is
    `history["dead.end.fraction"]`. Rows of tasks that the probe did not measure are NaN.

    ```python
    history["test_accuracy"][-20:].mean()
    history.to_xarray()["loss"].mean("chunk")  # axes with names
    history.to_dataframe()  # a row for each task
    ```

    The history of an ensemble has a second axis, over members. `members` holds the coordinates of
    this axis by name, such as `{"member": (0, 1)}`, and is empty for a single run.
    `quantities` says what the columns are that are meant to be shown, the main ones first.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        *,
        members: Mapping[str, Sequence[Any]] | None = None,
        quantities: Mapping[str, Quantity] | None = None,
    ):
        self._columns = dict(columns)
        self.members = dict(members or {})
        self.quantities = dict(quantities or {})

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        rows = [
            f"  {name}: {shape}, {first} ... {last}" for name, shape, first, last in self._rows()
        ]
        return "\n".join(["History(", *rows, ")"])

    def _repr_html_(self) -> str:
        """A table for notebooks, with a row for each column."""
        titles = ("column", "shape", "first", "last")
        head = "".join(f"<th>{title}</th>" for title in titles)
        rows = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        ]
        note = "first and last: the means over the first and the last task with a number"
        return f"<table><caption>{note}</caption><tr>{head}</tr>{''.join(rows)}</table>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        """**Raises:** `TypeError`. Without this method `pandas.DataFrame(history)` would be a frame
        of the names of the columns."""
        raise TypeError(
            f"A history is not one array, but {len(self)} columns, whose shapes may differ: call "
            "`history.to_dataframe()`, or take one column, such as `history['loss']`."
        )

    @property
    def num_tasks(self) -> int:
        """The number of tasks recorded."""
        return max((len(a) for a in self._columns.values()), default=0)

    def to_xarray(self) -> "xarray.Dataset":
        """The columns as variables with named axes, as `spectral.studies.load` names them.

        The axes are `task`, then `member` for an ensemble, then `chunk` for metrics of training and
        (`vector`, `node`) for spectra. Other columns have axes named after the column. The labels
        of an ensemble's members are coordinates along `member`.

        ```python
        history.to_xarray()["loss"].sel(task=1).mean("chunk")
        ```
        """
        import xarray

        leading = ("task", "member") if self.members else ("task",)
        variables = {}
        for name, column in self._columns.items():
            axes = (*leading, *further_axes(name, column.ndim - len(leading)))
            # With coordinates, spectra of different orders can be joined.
            places = {axis: range(size) for axis, size in zip(axes, column.shape, strict=True)}
            places |= {n: ("member", list(values)) for n, values in self.members.items()}
            variables[name] = xarray.DataArray(column, places, axes)
        return xarray.merge([variables], join="outer", compat="override")

    def to_dataframe(self, *, names: Sequence[str] | None = None) -> "pandas.DataFrame":
        """A data frame with a row for each task, and for each member of an ensemble.

        The labels of members are columns. Rows without any recorded value are left out.

        ```python
        history.to_dataframe()  # columns task, test_accuracy, ...
        history.to_dataframe(names=["loss"])  # columns task, chunk, loss
        ```

        **Arguments:**

        - `names`: columns of the history with equal axes. By default all that have one number for
          each task (and member).

        **Raises:** `ValueError` if a column does not exist, or if their axes differ.
        """
        return frame_of(self.to_xarray(), names, ("task", "member") if self.members else ("task",))

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Name, shape, first and last value of each column, sorted by name."""
        for name, column in sorted(self._columns.items()):
            known = mean_known(column)
            known = known[np.isfinite(known)]
            first, last = (known[0], known[-1]) if len(known) else (np.nan, np.nan)
            yield name, str(list(column.shape)), f"{first:.4g}", f"{last:.4g}"


class GrowingHistory:
    """The history of a run that is being trained: rows are written in place.

    The columns have room for all tasks from the start, so the time to write rows does not
    depend on how many are there. The histories that it returns are views of the rows so far; what
    is written to later tasks does not change them.

    ```python
    growing = GrowingHistory(History({}), num_tasks=3)
    growing.write({"loss": np.array([0.5, 0.25])}, 0)
    growing.history["loss"]  # [0.5, 0.25]
    ```

    **Arguments:**

    - `history`: what was recorded before; it is copied.
    - `num_tasks`: of the whole run.
    """

    def __init__(self, history: History, *, num_tasks: int):
        self._room = max(num_tasks, history.num_tasks)
        self._length = history.num_tasks
        self._about = history
        self._columns: dict[str, np.ndarray] = {}
        for name, column in history.items():
            self._column(name, column)[: len(column)] = column

    def write(self, rows: Mapping[str, np.ndarray], first: int) -> None:
        """Set `rows` from task `first` onwards. Rows that were never set are NaN."""
        for name, column in rows.items():
            self._column(name, column)[first : first + len(column)] = column
            self._length = max(self._length, first + len(column))

    @property
    def history(self) -> History:
        """The rows so far; all columns have the same length."""
        columns = {name: column[: self._length] for name, column in self._columns.items()}
        return History(columns, members=self._about.members, quantities=self._about.quantities)

    def _column(self, name: str, like: np.ndarray) -> np.ndarray:
        """The memory of a column; that of a new one has the shape of the rows `like`."""
        if name not in self._columns:
            self._columns[name] = np.full((self._room, *like.shape[1:]), np.nan, like.dtype)
        return self._columns[name]
