"""Which files a report may replace."""

import pathlib

from ..experiment._settings import SettingsError


_TITLE = b"<title>spectral: report</title>"
_HEAD = 4096  # bytes, in which the title is


def check_replaceable(path: pathlib.Path) -> None:
    """Check that there is no file at `path`, or a report, which a new one may replace.

    **Raises:** `SettingsError` if there is another file.
    """
    if not path.is_file():
        return
    with open(path, "rb") as file:
        if _TITLE in file.read(_HEAD):
            return
    raise SettingsError(
        f"`--out` is {str(path)!r}, which exists and is not a report: name another file, or delete "
        "it first."
    )
