"""Whether a run can be extended to more tasks, with the numbers of a run of all tasks."""

import copy
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ... import _programs
from ..._blas import single_threaded_blas
from ..._loop import configuration
from ..._measuring import calibrate, networks, run_probe
from ...tasks import AbstractTaskStream
from ..experiment._experiment import Experiment, RECORDED
from ..experiment._groups import assemble, groups
from ..experiment._settings import SettingsError
from ._folder import read_config
from ._keeper import checkpoints


def check_extension(experiment: Experiment, folder: pathlib.Path) -> dict[str, Any]:
    """Check that the run in `folder` can be trained further on the tasks of the experiment.

    Returns what the record of the run says about the earlier one.

    **Raises:** `SettingsError` if the experiment does not have more tasks than the run, if the
    tasks of its stream depend on `num_tasks`, or if the checkpoints are of another configuration.
    """
    old = read_config(folder)
    before, now = old["stream"].get("num_tasks"), experiment.stream.num_tasks
    if not isinstance(before, int) or not 0 < before < now:
        raise SettingsError(
            f"`stream.num_tasks` is {now}, but must be above the {before} of the run in "
            f"{str(folder)!r} to extend it: pass --set stream.num_tasks=N, or --resume to continue "
            "the run."
        )
    shorter = _of_length(experiment.stream, before)
    for group in groups(experiment):
        given = assemble(experiment, group.names)
        with single_threaded_blas():
            first = [_programs_of(given | {"stream": s}) for s in (shorter, experiment.stream)]
            if any(a != b for a, b in zip(*first, strict=True)):
                raise SettingsError(_depends(experiment.stream))
            names = ("model", "model_state", "stream", "algo", "key")
            like = _programs.start(*(given[name] for name in names))
        try:
            checkpoints(folder, group).read(configuration(**given), like)
        except ValueError as error:
            # A stream that computes other fields from `num_tasks` has another fingerprint.
            raise SettingsError(f"The run cannot be extended: {error}") from error
    return {"extended_from": {"num_tasks": before, **(old.get(RECORDED) or {})}}


def _of_length(stream: AbstractTaskStream, num_tasks: int) -> AbstractTaskStream:
    """The stream with another `num_tasks`, and all other fields as they are."""
    shorter = copy.copy(stream)
    try:
        object.__setattr__(shorter, "num_tasks", num_tasks)
    except AttributeError as error:  # a property
        raise SettingsError(_depends(stream)) from error
    return shorter


def _depends(stream: AbstractTaskStream) -> str:
    return (
        f"`stream` is a {type(stream).__name__} whose tasks depend on `num_tasks`, so the run "
        "cannot be extended: train all tasks at once, in another folder."
    )


def _programs_of(given: Mapping[str, Any]) -> Iterator[str]:
    """The programs of a run as text, with all constants.

    The programs do not take the number of tasks as data. If their text is the same for two
    numbers of tasks, so are the results.
    """
    stream, algo, key = (given[name] for name in ("stream", "algo", "key"))
    start = (given["model"], given["model_state"], stream, algo, key)
    zero, rows, measured = jnp.asarray(0, int), 1, eqx.filter_jit(run_probe)
    yield _text(_programs.start, *start)
    run = _programs.start(*start)
    yield _text(_programs.begin, run, stream, algo, zero, key)
    yield _text(_programs.segment, run, stream, algo, zero, zero, rows, key)
    calibrations = calibrate(given["probes"], run, stream, algo, key)
    for name, probe in given["probes"].items():
        hashed, place = jnp.asarray(0, jnp.uint32), jnp.asarray([0, 0], int)
        at = (hashed, place, networks(run), calibrations.get(name))
        yield _text(measured, probe, run, stream, algo, key, *at)


def _text(program: Any, *arguments: Any) -> str:
    return program.lower(*arguments).as_text()
