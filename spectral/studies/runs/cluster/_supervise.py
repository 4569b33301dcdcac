"""Handing in the groups of a run, again if a worker is lost, and watching them."""

import pathlib
import pickle
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...experiment._experiment import Experiment
from ...experiment._groups import Group
from ...experiment._settings import SettingsError
from ._cluster import Logger, Work
from ._group_lock import is_trained
from ._job import packed
from ._outcome import Outcome
from ._places import cluster_folder, lock_of
from ._pool import AbstractPool, LostWorkerError
from ._saved_tasks import SavedTasks
from ._software import software


_BETWEEN_LOOKS = 1.0  # seconds


def supervise(pool: AbstractPool, work: Work, groups: Sequence[Group], *, retries: int) -> None:
    """Train groups on the workers of a pool. Returns when all have ended.

    All groups are handed in at once, so that a cluster that grows with its load sees it. A group
    that another process still trains, such as a worker of a killed predecessor of this process,
    is handed in when that process has ended. If a worker is lost, its group is handed in again,
    and continues from its checkpoint; `retries` is how often in a row without further tasks.

    **Raises:** `SettingsError` at once if a worker cannot train any group, and at the end if a
    group failed while the others were trained. `RuntimeError` for an unforeseen error of a group.
    """
    wanted, waiting, failed = software(), list(groups), list[tuple[Group, Outcome]]()
    running: dict[Any, Group] = {}
    lost: dict[int, tuple[int, int]] = {}  # by group, how often, and after how many tasks
    told: set[int] = set()  # groups that others train
    with _token(work.folder) as token, SavedTasks(work, groups) as saved:
        options = {"needs_gpu": pool.gpus > 0, "has_process": pool.has_processes}
        payloads = {g.index: packed(work, g, token, **options) for g in groups}
        try:
            while waiting or running:
                free = [g for g in waiting if not is_trained(lock_of(work.folder, g.index))]
                waiting = [group for group in waiting if group not in free]
                _tell_of_others(work.folder, [g for g in waiting if g.index not in told])
                told |= {group.index for group in waiting}
                handles = pool.submit(wanted, [payloads[group.index] for group in free])
                running |= dict(zip(handles, free, strict=True))
                if not running:
                    time.sleep(_BETWEEN_LOOKS)
                for handle in pool.wait(running, seconds=_BETWEEN_LOOKS) if running else ():
                    group = running.pop(handle)
                    outcome = _outcome(pool, handle)
                    for message in outcome.warnings:
                        warnings.warn(f"{group.label}: {message}", stacklevel=2)
                    if outcome.kind == "rejected":
                        raise SettingsError(f"{outcome.message} {_KEPT}")
                    if outcome.kind == "lost":
                        lost[group.index] = _again(group, outcome, saved, lost, retries)
                    if outcome.kind in ("lost", "busy"):
                        waiting.append(group)
                    elif outcome.kind in ("failed", "fault"):
                        failed.append((group, outcome))
                saved.show(len(groups) - len(waiting) - len(running))
                work.stop.check()
        finally:
            pool.cancel(running)
    if failed:
        _raise(failed)


_KEPT = "What was trained is kept: continue with --resume."


def check_settings(experiment: Experiment, loggers: Sequence[Logger]) -> None:
    """**Raises:** `SettingsError` if workers cannot make the experiment or the loggers again."""
    if experiment.made_in_python:
        raise SettingsError(
            "`cluster` is not `ThisProcess()`, but the parts of the experiment were made in "
            "Python, and workers make them again from settings: describe them in a YAML file, "
            "with `package.module:Name` for parts of your own."
        )
    try:
        pickle.dumps(tuple(loggers))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"`loggers` are {list(loggers)!r}, but workers receive them by their names "
            f"({error}): pass functions or classes of a module."
        ) from error


def _outcome(pool: AbstractPool, handle: Any) -> Outcome:
    try:
        return Outcome(**pool.outcome(handle))
    except LostWorkerError as error:
        return Outcome("lost", str(error))


def _again(
    group: Group,
    outcome: Outcome,
    saved: "SavedTasks",
    lost: dict[int, tuple[int, int]],
    retries: int,
) -> tuple[int, int]:
    """How often a group has lost its worker since its last saved task, and its tasks now."""
    times, before = lost.get(group.index, (0, 0))
    now = saved.of(group)
    times = times + 1 if now == before else 1
    if times > retries:
        raise SettingsError(
            f"{group.label} lost its worker {times} times in a row after {now} tasks, the last "
            f"time because {outcome.message}. {_KEPT}"
        )
    warnings.warn(
        f"The worker of {group.label} was lost ({outcome.message}). Another one continues after "
        f"{now} of {saved.num_tasks} tasks (retry {times} of {retries}).",
        stacklevel=3,
    )
    return times, now


def _tell_of_others(folder: pathlib.Path, groups: Sequence[Group]) -> None:
    for group in groups:
        who = lock_of(folder, group.index).read_text(encoding="utf-8")
        warnings.warn(
            f"{group.label} is still trained by another process (host and id: {who}), as after a "
            "kill of the process that started it. It is waited for.",
            stacklevel=3,
        )


def _raise(failed: Sequence[tuple[Group, Outcome]]) -> None:
    group, outcome = failed[0]
    others = f" So did {len(failed) - 1} others." if len(failed) > 1 else ""
    message = f"{group.label} failed. {outcome.message}{others} {_KEPT}"
    raise (SettingsError if outcome.kind == "failed" else RuntimeError)(message)


@contextmanager
def _token(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file with a new name in the folder of a run. Who sees it sees the same folder."""
    place = cluster_folder(folder)
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("token-*"):
        old.unlink(missing_ok=True)
    token = place / f"token-{uuid.uuid4().hex}"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)
