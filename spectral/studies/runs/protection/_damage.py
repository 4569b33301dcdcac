"""The error for a damaged file of a run folder."""

import pathlib

from ...experiment._settings import SettingsError


class DamagedError(SettingsError):
    """A file of a run folder is damaged. The checkpoints hold what it held."""

    def __init__(self, path: pathlib.Path, error: Exception):
        if isinstance(error, IsADirectoryError):
            super().__init__(
                f"{str(path)!r} is a folder, but must be a file of the run: delete or move it, and "
                "run the experiment again with --resume, which writes the file again."
            )
            return
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        super().__init__(
            f"{str(path.parent)!r} holds a damaged {path.name} ({reason}): run the "
            "experiment again with --resume, which writes the file again from the last checkpoint."
        )
