"""What a worker needs to train a group."""

import dataclasses
import os
import pathlib
import pickle
from typing import Any

from ...experiment._experiment import RECORDED
from ...experiment._groups import Group
from ...experiment._own_parts import OWN_PARTS, own_parts
from .._devices import VARIABLE as DEVICES
from ..protection._numerics import numerics
from ._cluster import Logger, Work


_ENVIRONMENT = ("XLA_FLAGS", DEVICES)


@dataclasses.dataclass(frozen=True)
class Job:
    """A group, and all that its numbers depend on. A worker makes the parts again from settings,
    as `load_learner` does: data sets are read on each machine, and no program is sent."""

    group: Group
    settings: dict[str, Any]  # of an experiment with the algorithms of this group only
    own_modules: dict[str, Any]  # what is known of modules of one's own
    num_tasks: int
    folder: pathlib.Path
    token: pathlib.Path  # a file that this process has just written to the folder
    directory: str  # in which relative paths of the settings begin
    loggers: tuple[Logger, ...]
    keep_every: int | None
    numerics: dict[str, Any]
    environment: dict[str, str]
    needs_gpu: bool
    has_process: bool  # the worker is a process of this job alone, and may handle its signals


def packed(
    work: Work, group: Group, token: pathlib.Path, *, needs_gpu: bool, has_process: bool
) -> bytes:
    """The job of a group as bytes, which are unpacked once the software has been compared."""
    settings = work.experiment.settings
    names = dict.fromkeys(name for name, _ in group.names)
    own = own_parts(settings, work.experiment.folders)
    recorded = {} if own is None else {RECORDED: {OWN_PARTS: {"folders": own["folders"]}}}
    job = Job(
        group,
        {**settings, "algorithms": {n: settings["algorithms"][n] for n in names}, **recorded},
        {} if own is None else own["modules"],
        work.experiment.stream.num_tasks,
        work.folder.resolve(),
        token.resolve(),
        os.getcwd(),
        tuple(work.loggers),
        work.keep_every,
        numerics(),
        {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        needs_gpu,
        has_process,
    )
    return pickle.dumps(job)
