"""What a worker of a cluster does: it trains one group in the folder of the run."""

import os
import pickle
import signal
import socket
import traceback
import warnings
from collections.abc import Mapping
from typing import Any

import jax

from ...experiment._experiment import Experiment, RECORDED
from ...experiment._make import make_experiment
from ...experiment._own_parts import changed_modules, OWN_PARTS, own_parts
from ...experiment._settings import differences, SettingsError
from .._devices import VARIABLE as DEVICES
from ..protection._memory import check_memory, within_memory
from ..protection._obstacles import told
from ..protection._stop import Terminated, watch_signals
from ._cluster import Work
from ._group_lock import sole_trainer
from ._has_ended import has_ended
from ._job import Job
from ._outcome import Outcome
from ._places import lock_of
from ._software import other_software, software
from ._train_group import train_group


# The process that has started this one looks at the lock for a moment, and a killed process may
# need one to end.
_PATIENCE = 5.0  # seconds


def work(wanted: Mapping[str, str], payload: bytes) -> dict[str, Any]:
    """Train the group of a packed `Job`, and return the facts of an `Outcome`.

    `wanted` is the software of the process that sent the job. Warnings are part of the outcome.
    """
    with warnings.catch_warnings(record=True) as found:
        outcome = _outcome(wanted, payload)
    texts = tuple(" ".join(str(warning.message).split()) for warning in found)
    return Outcome(outcome.kind, outcome.message, texts).facts


def _outcome(wanted: Mapping[str, str], payload: bytes) -> Outcome:
    host = socket.gethostname()
    try:
        if (other := other_software(wanted, software())) is not None:
            raise _RejectedError(
                f"{other}: install the same packages there (and the same commit of spectral)"
            )
        job: Job = pickle.loads(payload)
        _prepare(job)
        try:
            return _train(job)
        except OSError as error:
            raise SettingsError(told(error, job.folder)) from error
    except _RejectedError as error:
        return Outcome("rejected", f"The worker on {host} {error}.")
    except SettingsError as error:
        return Outcome("failed", f"On {host}: {error}")
    except Terminated:
        return Outcome("lost", f"it was ended by SIGTERM on {host}")
    except Exception:
        return Outcome("fault", f"On {host}: {traceback.format_exc()}")


def _prepare(job: Job) -> None:
    """Make this process compute as the one that sent the job does."""
    os.environ.update(job.environment)
    options = dict(job.numerics)
    if DEVICES in job.environment:
        options["jax_num_cpu_devices"] = int(job.environment[DEVICES])
    for name, value in options.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)
    if os.path.isdir(job.directory):
        os.chdir(job.directory)
    if job.has_process:
        # The scheduler has its own handlers, which do not save.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, lambda *_: signal.raise_signal(signal.SIGTERM))


def _train(job: Job) -> Outcome:
    if not job.token.exists():
        raise _RejectedError(
            f"does not see the files of {str(job.folder)!r} that were just written there: name "
            "with --out a folder that all machines have under one path, on shared storage"
        )
    if job.needs_gpu and jax.default_backend() != "gpu":
        raise _RejectedError(
            f"has no GPU that JAX can use (its backend is {jax.default_backend()!r}), but a group "
            "was declared to need one: install the extra `gpu` there, or leave --gpus out"
        )
    with sole_trainer(lock_of(job.folder, job.group.index), seconds=_PATIENCE) as alone:
        if not alone:
            return Outcome("busy")
        if not has_ended(job.folder, job.group, job.num_tasks):
            experiment = _remade(job)
            with watch_signals() as stop, within_memory(f"The group {job.group.label}"):
                given = Work(experiment, job.folder, job.loggers, job.keep_every, stop)
                train_group(given, job.group)
        return Outcome("ended")


def _remade(job: Job) -> Experiment:
    """The experiment of a job. **Raises:** `_RejectedError` if it is another one here."""
    experiment = make_experiment(job.settings)
    settings = {name: value for name, value in job.settings.items() if name != RECORDED}
    if found := list(differences(settings, experiment.settings)):
        raise _RejectedError(
            f"makes another experiment of the settings ({'; '.join(found)}): install the same "
            "packages there"
        )
    here = own_parts(experiment.settings, experiment.folders) or {}
    if changed := changed_modules({OWN_PARTS: {"modules": job.own_modules}}, {OWN_PARTS: here}):
        raise _RejectedError(
            f"has another source of {', '.join(changed)}: copy these modules there, or keep them "
            "on shared storage"
        )
    check_memory(experiment)
    return experiment


class _RejectedError(Exception):
    """This worker cannot train any group of the run. The message is the predicate of a sentence
    about it."""
