"""Probes at task boundaries. Each probe is a separate compiled program."""

import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, UInt32

from ._base._processes import gathered
from ._base._returned import check_row
from ._branches._train_branch import train_branch
from ._core import Run
from ._ensemble import Ensemble, spread
from ._keys import derive, Role
from ._types import Learner
from .algorithms import Algorithm, AlgorithmState
from .probes import AbstractBranchProbe, AbstractProbe, Boundary, measure_with, Train, When
from .tasks import AbstractTaskStream


def measure(
    when: When,
    probes: dict[str, AbstractProbe],
    task: int,
    run: Run | Ensemble,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    key: PRNGKeyArray | Ensemble,
    initial: PyTree,
    calibrations: dict[str, Any],
) -> dict[str, np.ndarray]:
    """One row of the history: the measurements of the probes that are due at this boundary."""
    rows = {}
    for name, probe in probes.items():
        if when in probe.when and task % probe.every == 0:
            # The key depends on the name of the probe, so adding a probe does not change others.
            name_hash = jnp.asarray(zlib.crc32(f"{name}.{when}".encode()), jnp.uint32)
            place = jnp.asarray([task, when == "end"], int)
            known = initial, calibrations.get(name)
            measured = run_probe(probe, run, stream, algo, key, name_hash, place, *known)
            if isinstance(run, Ensemble):
                step, columns = gathered((run.stacked.divergence.step, measured.stacked))
                lost = np.asarray(step) >= 0
                found = {k: np.array(v) for k, v in columns.items()}
                for column in found.values():
                    column[lost] = np.nan
            else:
                found = {k: np.asarray(v) for k, v in measured.items()}
            rows |= {f"{name}.{when}.{k}": v[None] for k, v in found.items()}
    return rows


def run_probe(
    probe: AbstractProbe,
    run: Run | Ensemble,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    key: PRNGKeyArray | Ensemble,
    name: UInt32[Array, ""],
    place: Int[Array, "2"],
    initial: PyTree,
    calibration: Any,
) -> Any:
    """What a probe measures, for each member of an ensemble.

    **Arguments:**

    - `name`: a hash of the name of the probe and of `when`.
    - `place`: the task, and 0 for its start or 1 for its end. Both are data, so that all
      boundaries share one program.
    - `initial`: the network before the first task, from `networks`.
    - `calibration`: what `calibrate` found for this probe.
    """
    seen, known = _seen(probe, run, algo)
    return _measurement(probe, seen, stream, known, key, name, place, initial, calibration)


def networks(run: Run | Ensemble) -> PyTree:
    """The network of a run, or those of the members of an ensemble."""
    if isinstance(run, Ensemble):
        return Ensemble(run.stacked.learner.model)
    return run.learner.model


def calibrate(
    probes: dict[str, AbstractProbe],
    run: Run | Ensemble,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    key: PRNGKeyArray | Ensemble,
) -> dict[str, Any]:
    """What the probes that train find out once per run, by their names. `run` is the run before its
    first task, also if it is resumed later."""
    return {
        name: run_calibration(probe, run, stream, algo, key)
        for name, probe in probes.items()
        if isinstance(probe, AbstractBranchProbe)
    }


def run_calibration(
    probe: AbstractBranchProbe,
    run: Run | Ensemble,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    key: PRNGKeyArray | Ensemble,
) -> Any:
    """What a probe that trains finds out once, for each member of an ensemble."""
    return _calibration(probe, _seen(probe, run, algo)[0], stream, algo, key)


def _seen(
    probe: AbstractProbe, run: Run | Ensemble, algo: Algorithm | Ensemble
) -> tuple[Any, Algorithm | Ensemble | None]:
    """The part of a run that a probe sees: learner, state of the stream, memory; and the algorithm.

    Only probes that train see the algorithm and its memory, so that for all others algorithms with
    equal optimisers share a program.
    """
    trains = isinstance(probe, AbstractBranchProbe)
    seen = lambda r: (r.learner, r.stream, r.algorithm if trains else None)
    parts = Ensemble(seen(run.stacked)) if isinstance(run, Ensemble) else seen(run)
    return parts, algo if trains else None


def to_boundary(done: int, num_tasks: int, probes: dict[str, AbstractProbe]) -> int:
    """The number of tasks from `done` to the next boundary at which a probe measures."""
    for end in range(done + 1, num_tasks):
        for probe in probes.values():
            starts = "start" in probe.when and end % probe.every == 0
            ends = "end" in probe.when and (end - 1) % probe.every == 0
            if starts or ends:
                return end - done
    return num_tasks - done


def _measured(
    probe: AbstractProbe,
    seen: tuple[Learner, Any, AlgorithmState | None],
    stream: AbstractTaskStream,
    algo: Algorithm | None,
    key: PRNGKeyArray,
    name: UInt32[Array, ""],
    place: Int[Array, "2"],
    initial: PyTree,
    calibration: Any,
) -> dict[str, Array]:
    # An optimisation barrier keeps XLA from fusing the probe with the code that produces its
    # inputs. That code differs between a single run and an ensemble, and fusing it would change the
    # rounding.
    given, static = eqx.partition((seen, stream, algo, key, initial), eqx.is_array)
    seen, stream, algo, key, initial = eqx.combine(jax.lax.optimization_barrier(given), static)
    learner, state, memory = seen
    task, end = place
    # The examples depend on the boundary alone, so that the measurements of two probes can be
    # compared. All other draws depend on the name too.
    boundary = Boundary(task, derive(key, Role.SAMPLE, task, end), key, initial=initial)
    own = derive(key, Role.PROBE, name, task)
    train = None
    if algo is not None and memory is not None:
        train = Train(stream, algo, memory, task + end, end == 1, calibration, train_branch)
    measured = measure_with(probe, learner, stream, state, boundary, train, key=own)
    check_row(probe, "__call__", measured)
    return {what: jnp.asarray(value, float) for what, value in measured.items()}


def _calibrated(
    probe: AbstractBranchProbe,
    seen: tuple[Learner, Any, AlgorithmState],
    stream: AbstractTaskStream,
    algo: Algorithm,
    key: PRNGKeyArray,
) -> Any:
    learner, _, memory = seen
    first = jnp.asarray(0, int)
    train = Train(stream, algo, memory, first, first == 0, None, train_branch)
    return probe.calibrate(learner, stream, train, key=derive(key, Role.CALIBRATE))


_measurement = eqx.filter_jit(spread(_measured))
_calibration = eqx.filter_jit(spread(_calibrated))
