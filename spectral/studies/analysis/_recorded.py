"""Several run folders that have recorded something, and names for their algorithms."""

import os
import pathlib
from collections.abc import Iterable

from ..experiment._settings import SettingsError
from ..runs._results import load_results, Results


def load_recorded(folders: Iterable[str | os.PathLike[str]]) -> list[Results]:
    """Read run folders.

    **Raises:** `SettingsError` if a folder does not hold a run, or if none has recorded anything.
    """
    paths = [pathlib.Path(folder) for folder in folders]
    results = [load_results(path) for path in paths]
    if not any(result.members for result in results):
        raise SettingsError(
            f"Nothing has been recorded yet in {', '.join(map(repr, map(str, paths)))}: wait until "
            "the run has trained its first tasks, or name other folders."
        )
    return results


def run_name(results: Results, algorithm: str, *, alone: bool) -> str:
    """The name of an algorithm, with the folder in front unless it is the only one."""
    return algorithm if alone else f"{results.folder}/{algorithm}"
