"""The folder of a run in which the processes of a cluster find each other."""

import pathlib


def cluster_folder(folder: pathlib.Path) -> pathlib.Path:
    """The folder of the locks of groups and of the files of a scheduler."""
    return folder / "cluster"


def lock_of(folder: pathlib.Path, index: int) -> pathlib.Path:
    """The file that the process that trains a group has locked. It names that process."""
    return cluster_folder(folder) / f"{index}.lock"
