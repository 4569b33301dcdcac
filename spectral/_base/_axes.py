"""The names of the axes of recorded columns, and tables of columns with equal axes."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import pandas
    import xarray


_SPECTRUM = ("vector", "node")


def further_axes(column: str, count: int) -> tuple[str, ...]:
    """The names of the `count` axes of a column after those over tasks and members.

    Metrics of training have the axis `chunk`, and spectra have `vector` and `node`. Other columns
    have axes named after the column.
    """
    if "." not in column and count == 1:
        return ("chunk",)
    if column.endswith((".nodes", ".weights")) and count == 2:
        return _SPECTRUM
    return tuple(f"{column}.{axis}" for axis in range(count))


def frame_of(
    data: "xarray.Dataset", names: Sequence[str] | None, axes: tuple[Hashable, ...]
) -> "pandas.DataFrame":
    """A data frame with a row for each entry of the axes of the variables `names`, by default of
    all variables that have just `axes`. Rows without any recorded value are left out.

    **Raises:** `ValueError` if a variable does not exist, or if their axes differ.
    """
    if names is None:
        names = [str(n) for n, v in data.data_vars.items() if v.dims == axes]
    if not names:
        raise ValueError(
            f"`names` is empty, because no variable has just the axes {axes}: choose among "
            f"{', '.join(sorted(map(str, data.data_vars))) or 'none'}."
        )
    for name in names:
        if name not in data:
            raise ValueError(
                f"`names` has {name!r}, which was not recorded: choose among "
                f"{', '.join(sorted(map(str, data.data_vars)))}."
            )
    found = {name: data[name].dims for name in names}
    if len(set(found.values())) > 1:
        raise ValueError(
            f"`names` has variables of different axes, {found}: make one frame for each kind."
        )
    frame = data[list(names)].to_dataframe()
    return frame.dropna(how="all", subset=list(names)).reset_index()
