"""What a recorded number is: how it is called, drawn, reduced and compared."""

import dataclasses
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, get_args, Literal

import numpy as np
from jaxtyping import Float

from .._arguments import unknown_name
from ._quantity_facts import check_entry, check_facts


Reduction = Literal["mean", "mean_known", "smallest", "largest"]
Scale = Literal["linear", "log"]
Better = Literal["higher", "lower"]
Rows = Literal["train", "validation", "test"]
BOUNDS = ("lower", "upper", "resolved", "smallest")


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Describes a column of the history. Tables, figures, reports and sweeps know no more of it.

    Streams, probes and transforms have a method `quantities` that returns a `Quantity` for each
    column they record and want to be shown:

    ```python
    from spectral import Quantity

    def quantities(self):
        return {"loss": Quantity("validation loss", better="lower", scale="log", figure="loss")}
    ```

    **Arguments:**

    - `label`: the name in tables and figures, in lower case. Sweeps name it as their `measure`.
    - `unit`: follows the label of an axis in brackets.
    - `limits`: the smallest and the largest possible value, `None` where there is none.
    - `scale`: of the axis, `"linear"` or `"log"`.
    - `better`: whether `"higher"` or `"lower"` values are better; `None` for neither.
    - `guess`: the value that guessing gives; a collapse is measured from there.
    - `compared`: whether the summary of a run looks for the task at which it collapses.
    - `figure`: the figure in which it is a panel, and the name of its file: letters, digits, `_`
      and `-`.
    - `reduce`: how an array becomes one number per task: `"mean"`, `"mean_known"` (of the finite
      entries), `"smallest"` (as over layers), `"largest"`, or the index of an entry.
    - `rows`: the rows of the data it was measured on, `"train"`, `"validation"` or `"test"`, if it
      was measured on one of these. Sweeps choose by validation rows if there are any.
    - `bounds`: the columns, by `"lower"`, `"upper"` and `"resolved"`, that bound the value and say
      whether the bounds are narrow; `"smallest"` is the smallest value above 0 that is possible,
      where a logarithmic axis shows a 0.
    - `note`: a sentence below tables.
    - `cost`: of one measurement, in gradient evaluations on its examples, `None` if it is not
      known. Signs of lost plasticity are compared with their costs.

    **Raises:** `ValueError` if an argument is not one of these.
    """

    label: str
    _: KW_ONLY
    unit: str = ""
    limits: tuple[float | int | None, float | int | None] = (None, None)
    scale: Scale = "linear"
    better: Better | None = None
    guess: float | int | None = None
    compared: bool = False
    figure: str = "others"
    reduce: Reduction | int = "mean"
    rows: Rows | None = None
    bounds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""
    cost: float | int | None = None

    def __post_init__(self):
        choices = {"scale": Scale, "better": Better, "reduce": Reduction, "rows": Rows}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if isinstance(value, str) and value not in get_args(allowed):
                raise ValueError(unknown_name(f"`{name}`: Choice", value, get_args(allowed)))
        check_facts(self)
        # Integers of the user become what a file gives back.
        number = lambda value: value if value is None else float(value)
        object.__setattr__(self, "limits", tuple(map(number, self.limits)))
        object.__setattr__(self, "guess", number(self.guess))
        object.__setattr__(self, "cost", number(self.cost))
        if not isinstance(self.reduce, str):
            object.__setattr__(self, "reduce", int(self.reduce))
        for name in self.bounds:
            if name not in BOUNDS:
                raise ValueError(unknown_name("`bounds`: Bound", name, BOUNDS))

    def series(self, column: np.ndarray) -> Float[np.ndarray, " tasks"]:
        """One number per task from the recorded `column`, `[tasks, ...]`."""
        rows = column.reshape(len(column), -1)
        if isinstance(self.reduce, int):
            return rows[:, self.reduce]
        if self.reduce == "mean_known":
            return mean_known(rows)
        reductions = {"mean": np.mean, "smallest": np.min, "largest": np.max}
        return reductions[self.reduce](rows, axis=1)

    @property
    def axis(self) -> str:
        """The label of an axis, with the unit."""
        label = self.label[:1].upper() + self.label[1:]
        return f"{label} ({self.unit})" if self.unit else label

    @property
    def facts(self) -> dict[str, Any]:
        """The arguments, as a file can hold them; `Quantity(**facts)` is equal to this."""
        facts = dataclasses.asdict(self)
        return facts | {"limits": list(self.limits), "bounds": dict(self.bounds)}


def mean_known(column: np.ndarray) -> Float[np.ndarray, " tasks"]:
    """The mean of the finite entries of each row; NaN for a row without any."""
    rows = column.reshape(len(column), -1)
    known = np.isfinite(rows)
    total, count = np.where(known, rows, 0).sum(axis=1), known.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def described(
    columns: Mapping[str, int], part: Any, owner: str, prefix: str = ""
) -> dict[str, Quantity]:
    """The quantities of a part by the columns of the history.

    A part that declares nothing has a plain quantity for each of its columns.

    **Arguments:**

    - `columns`: how many numbers each column that the part records has for one task.
    - `part`: a stream, a probe or a transform, with a method `quantities`.
    - `owner`: its name in messages.

    **Raises:** `TypeError` if `quantities` does not return a mapping of quantities; `ValueError` if
    a declared quantity, or a bound of one, is not among the `columns`, or chooses an entry that its
    column does not have.
    """
    try:
        declared = part.quantities()
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"`{owner}.quantities()`: {error}") from error
    known = isinstance(declared, Mapping)
    if not known or not all(isinstance(quantity, Quantity) for quantity in declared.values()):
        raise TypeError(
            f"`{owner}.quantities()` is {declared!r}, but must be a dictionary from the names of "
            "recorded columns to `Quantity`: return for example "
            '`{"loss": Quantity("my loss", better="lower")}`, or `{}`.'
        )
    for name, quantity in declared.items():
        for column in (name, *quantity.bounds.values()):
            if column not in columns:
                raise ValueError(
                    unknown_name(f"`{owner}.quantities()`: Recorded column", str(column), columns)
                )
        check_entry(name, quantity.reduce, columns[name], owner)
    if not declared:
        return {f"{prefix}{name}": Quantity(f"{prefix}{name}") for name in columns}
    placed = {
        name: {bound: f"{prefix}{column}" for bound, column in quantity.bounds.items()}
        for name, quantity in declared.items()
    }
    return {
        f"{prefix}{name}": dataclasses.replace(quantity, bounds=placed[name])
        for name, quantity in declared.items()
    }
