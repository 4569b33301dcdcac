"""The style of all figures, and how they are saved."""

import colorsys
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.colors
from matplotlib.figure import Figure

from ..._arguments import unknown_name
from ..experiment._settings import given_path, SettingsError


# The palette of Okabe and Ito, which colour-blind readers can distinguish, without its yellow,
# which is hard to see on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # keeps text as text
}


def palette(count: int) -> list[str]:
    """`count` different colours. After the first seven, hues follow the golden section, at three
    lightnesses."""
    further = [
        colorsys.hls_to_rgb((0.06 + i * 0.618034) % 1.0, (0.32, 0.42, 0.52)[i % 3], 0.65)
        for i in range(max(0, count - len(COLOURS)))
    ]
    return [*COLOURS[:count], *(matplotlib.colors.to_hex(shade).upper() for shade in further)]


def choose(
    drawings: Mapping[str, Callable[[], Figure | None]], only: Sequence[str] | None
) -> dict[str, Callable[[], Figure | None]]:
    """The drawings whose names are in `only`, in that order; all if that is `None` or empty.

    **Raises:** `SettingsError` if a name does not exist.
    """
    for name in only or ():
        if name not in drawings:
            raise SettingsError(unknown_name("`--only`: Figure", name, drawings))
    return {name: drawings[name] for name in only or drawings}


def save_figures(
    drawings: Mapping[str, Callable[[], Figure | None]], folder: pathlib.Path
) -> list[pathlib.Path]:
    """Draw figures and write each as PNG and PDF, under its name in the mapping.

    A function that returns `None` has nothing to draw. Creates the folder if a figure is written.
    Returns the files.

    **Raises:** `SettingsError` if a file cannot be written.
    """
    files, folder = [], given_path("folder", folder)
    with matplotlib.rc_context(_STYLE):
        for name, draw in drawings.items():
            figure = draw()
            if figure is not None:
                files += _save(figure, folder, name)
    return files


def _save(figure: Figure, folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    files = [folder / f"{name}.{kind}" for kind in ("png", "pdf")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            figure.savefig(file, dpi=200)
    except OSError as error:
        raise SettingsError(
            f"Figures cannot be written to {str(folder)!r}: {error.strerror}. Choose another "
            "folder."
        ) from error
    return files
