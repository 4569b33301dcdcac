"""Figures of loss landscapes."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ._style import save_figures


Numbers = Float[np.ndarray, " _"] | Float[Array, " _"]
Surface = Float[np.ndarray, "_ _"] | Float[Array, "_ _"]

_LEVELS = 24
_ZOOM: Any = 0.8  # with 1 the labels of a surface are cut off
_COLOURS = "viridis"  # perceptually uniform, for print and for colour-blind readers


def draw_landscapes(
    landscapes: Mapping[str, Surface],
    x: Numbers,
    y: Numbers,
    path: str | pathlib.Path,
    *,
    labels: Sequence[str] = ("First direction", "Second direction"),
    ceiling: float | None = None,
) -> list[pathlib.Path]:
    """Draw losses over a plane as contours and as surfaces (paper, Figures 1, 4 and 5).

    Each network has a column with the contours above, where a red dot at (0, 0) marks the network,
    and the surface below. All columns share one scale of colours and heights, because otherwise a
    flat and a steep landscape would look alike. Writes PNG and PDF.

    ```python
    x = y = jnp.linspace(-1.0, 1.0, 25)
    plane = curvature.loss_landscape(risk, model, [first, second], x, y)
    studies.draw_landscapes({"BP": plane}, x, y, "figures/landscape")
    ```

    **Arguments:**

    - `landscapes`: by name, arrays `[len(x), len(y)]` of `loss_landscape`.
    - `x`, `y`: the coordinates of their points.
    - `path`: the path of the files without suffix. Missing folders are created.
    - `labels`: of the two directions, such as "First eigenvector".
    - `ceiling`: higher losses are drawn as this one, so that the walls of a network that diverges
      do not hide its valley. By default the highest finite loss.

    **Returns:** the files that were written.

    **Raises:** `ValueError` if `landscapes` is empty, or if an array does not fit the coordinates
    or has no finite loss.
    """
    planes = {name: np.asarray(plane, float) for name, plane in landscapes.items()}
    if not planes:
        raise ValueError(
            "`landscapes` is empty, but must have at least one array: pass {name: losses}."
        )
    for name, plane in planes.items():
        if plane.shape != (len(x), len(y)) or min(plane.shape) < 2 or not np.isfinite(plane).any():
            raise ValueError(
                f"The landscape {name!r} has the shape {plane.shape} and "
                f"{np.isfinite(plane).sum()} finite losses, but must have the shape of the "
                f"coordinates, {(len(x), len(y))}, with at least two points in each direction, and "
                "a finite loss: pass the `x` and `y` that were passed to `loss_landscape`."
            )
    finite = np.concatenate([plane[np.isfinite(plane)] for plane in planes.values()])
    low, high = finite.min(), finite.max() if ceiling is None else ceiling
    high = high if high > low else low + 1
    draw = lambda: _draw(planes, np.asarray(x), np.asarray(y), labels, low, high)
    path = pathlib.Path(path)
    return save_figures({path.name: draw}, path.parent)


def _draw(
    planes: dict[str, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    labels: Sequence[str],
    low: float,
    high: float,
) -> Figure:
    figure = Figure(figsize=(3.0 * len(planes) + 0.6, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, len(planes))
    first, second = np.meshgrid(x, y, indexing="ij")
    levels = np.linspace(low, high, _LEVELS)
    for column, (name, plane) in enumerate(planes.items()):
        # Losses that are not finite or above the ceiling are drawn as a wall.
        plane = np.minimum(np.nan_to_num(plane, nan=high, posinf=high), high)
        axes = figure.add_subplot(grid[0, column])
        filled = axes.contourf(first, second, plane, levels=levels, cmap=_COLOURS)
        axes.contour(first, second, plane, levels=levels, colors="k", linewidths=0.3, alpha=0.5)
        axes.plot(0, 0, "o", color="red", markersize=4)
        axes.set(title=name, xlabel=labels[0], ylabel=labels[1] if column == 0 else "")
        if column == len(planes) - 1:
            figure.colorbar(filled, ax=axes, label="Loss", ticks=MaxNLocator(6))
        solid = figure.add_subplot(grid[1, column], projection="3d")
        assert hasattr(solid, "plot_surface")  # 2D axes do not have it
        solid.plot_surface(first, second, plane, cmap=_COLOURS, vmin=low, vmax=high, lw=0)
        solid.set(zlim=(low, high), xlabel=labels[0], ylabel=labels[1])
        solid.tick_params(labelsize=7)
        solid.set_box_aspect(None, zoom=_ZOOM)
    return figure
