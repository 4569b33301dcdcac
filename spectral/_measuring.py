"""Probes at task boundaries. Each probe is a separate compiled program."""

import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, UInt32

from ._base._returned import check_row
from ._base._signature import has_parameter
from ._core import Run
from ._ensemble import Ensemble, spread
from ._keys import derive, Role
from ._types import Learner
from .probes import AbstractProbe, Boundary, When
from .tasks import AbstractTaskStream


def measure(
    when: When,
    probes: dict[str, AbstractProbe],
    task: int,
    run: Run | Ensemble,
    stream: AbstractTaskStream,
    key: PRNGKeyArray | Ensemble,
    first: Run | Ensemble,
) -> dict[str, np.ndarray]:
    """One row of the history: the measurements of the probes that are due at this boundary. `first`
    is the run before its first task."""
    rows = {}
    for name, probe in probes.items():
        if when in probe.when and task % probe.every == 0:
            # The key depends on the name of the probe, so adding a probe does not change others.
            name_hash = jnp.asarray(zlib.crc32(f"{name}.{when}".encode()), jnp.uint32)
            place = jnp.asarray([task, when == "end"], int)
            measured = run_probe(probe, run, stream, key, name_hash, place, first)
            if isinstance(run, Ensemble):
                lost = np.asarray(run.stacked.divergence.step) >= 0
                found = {k: np.array(v) for k, v in measured.stacked.items()}
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
    key: PRNGKeyArray | Ensemble,
    name: UInt32[Array, ""],
    place: Int[Array, "2"],
    first: Run | Ensemble,
) -> Any:
    """What a probe measures, for each member of an ensemble.

    **Arguments:**

    - `name`: a hash of the name of the probe and of `when`.
    - `place`: the task, and 0 for its start or 1 for its end. Both are data, so that all
      boundaries share one program.
    - `first`: the run before its first task.
    """
    # Probes do not see the state of the algorithm, so algorithms with equal optimisers share a
    # program.
    seen = lambda r: (r.learner, r.stream)
    seen = Ensemble(seen(run.stacked)) if isinstance(run, Ensemble) else seen(run)
    initial = None
    if has_parameter(probe, "initial"):
        models = lambda r: r.learner.model
        initial = Ensemble(models(first.stacked)) if isinstance(first, Ensemble) else models(first)
    return _measurement(probe, seen, stream, key, name, place, initial)


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
    seen: tuple[Learner, Any],
    stream: AbstractTaskStream,
    key: PRNGKeyArray,
    name: UInt32[Array, ""],
    place: Int[Array, "2"],
    initial: PyTree,
) -> dict[str, Array]:
    # An optimisation barrier keeps XLA from fusing the probe with the code that produces its
    # inputs. That code differs between a single run and an ensemble, and fusing it would change the
    # rounding.
    arrays, static = eqx.partition((seen, stream, key, initial), eqx.is_array)
    seen, stream, key, initial = eqx.combine(jax.lax.optimization_barrier(arrays), static)
    learner, state = seen
    task, end = place
    # The examples depend on the boundary alone, so that the measurements of two probes can be
    # compared. All other draws depend on the name too.
    boundary = Boundary(task, derive(key, Role.SAMPLE, task, end), key)
    own = derive(key, Role.PROBE, name, task)
    given = {"boundary": boundary, "initial": initial}
    known = {what: value for what, value in given.items() if has_parameter(probe, what)}
    measured = probe(learner, stream, state, key=own, **known)
    check_row(probe, "__call__", measured)
    return {what: jnp.asarray(value, float) for what, value in measured.items()}


_measurement = eqx.filter_jit(spread(_measured))
