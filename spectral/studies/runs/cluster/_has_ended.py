"""Whether a group of a run folder has been trained on all tasks."""

import pathlib

from ...experiment._groups import Group
from .._results import known_member


def has_ended(folder: pathlib.Path, group: Group, num_tasks: int) -> bool:
    """Whether each member of the group has the histories of all tasks, which may be more than it
    was trained on before."""
    known = [known_member(folder, *name) for name in group.names]
    return all(
        member is not None
        and member.status != "unfinished"
        and member.history.num_tasks == num_tasks
        for member in known
    )
