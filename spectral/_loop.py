"""`train_continual`: a thin shell around compiled segments of tasks."""

import time
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, UInt32

from ._arguments import check_count, check_kind, check_one_key
from ._blas import single_threaded_blas
from ._core import begin_task, derive, Role, Run, run_tasks, start_run
from ._divergence import Diverged, place
from ._ensemble import count_members, Ensemble, replicate, spread
from ._history import extend, History
from ._types import Learner
from .algorithms import Algorithm
from .probes import AbstractProbe, When
from .tasks import AbstractTaskStream


class AbstractMeter(eqx.Module):
    """Shows how far a run is."""

    @abstractmethod
    def update(self, done: int, total: int, history: History) -> None:
        """Called after every segment, and once at the start, with the number of tasks done."""


class AbstractCheckpointer(eqx.Module):
    """Keeps a run on disk, so that it can be resumed."""

    @abstractmethod
    def restore(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        """The last state saved under this configuration: tasks done, run and history; `None` if
        there is none. `run` shows the structure to be filled."""

    @abstractmethod
    def save(self, config: PyTree, done: int, run: Run | Ensemble, history: History) -> None:
        """Keep the state after `done` tasks. All calls of one run get one object `config`."""


def train_continual(
    model: PyTree,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    *,
    key: PRNGKeyArray | Ensemble | None = None,
    probes: Mapping[str, AbstractProbe] | None = None,
    model_state: eqx.nn.State | Ensemble | None = None,
    segment_tasks: int | None = None,
    meter: AbstractMeter | None = None,
    checkpointer: AbstractCheckpointer | None = None,
) -> tuple[Any, History]:
    """Train `model` on all tasks of `stream`, one after another, with `algo`.

    The training is one compiled program, called for a segment of tasks at a time.

    ```python
    stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=5)
    model = models.MLP(64, 10, width=32, key=jax.random.key(0))
    learner, history = train_continual(model, stream, algorithms.bp(lr=0.03))
    history["test_accuracy"]
    ```

    **Main arguments:**

    - `model`: a network that returns `(outputs, taps)` for one example, such as those of
      `spectral.models`.
    - `stream`: the tasks, such as `spectral.tasks.PermutedImages`.
    - `algo`: the algorithm, such as `spectral.algorithms.l2_er()`.
    - `key`: `jax.random.key(0)` by default. Everything random follows from it.
    - `probes`: what to measure at task boundaries, by name. They never change the training.

    **Other arguments:**

    - `model_state`: the running statistics of a network made by `eqx.nn.make_with_state`.
    - `segment_tasks`: tasks in a segment at most, after which the meter and the checkpointer are
      called. By default a segment lasts about two seconds. The length changes no result.
    - `meter`, `checkpointer`: see `spectral.studies`. With a checkpointer that holds a state of
      the same configuration, the run goes on from there.

    **Ensembles.** Where `model`, `algo`, `key` or `model_state` is an `Ensemble`, as many runs as
    it has members are one program; what is no ensemble is shared by all. The columns of the history
    then have a second axis over members, and the learner is an ensemble. A member that diverges
    raises nothing and leaves the others as they are: its rows are NaN from there on, and the
    columns `diverged_step`, `diverged_in_weights` and `diverged_in_data` (0 or 1), NaN as long as
    all is well, mark it.

    **Returns:** the `Learner` after the last task (an `Ensemble` of them), and the history.

    **Raises:** `Diverged` when a loss or weight is not finite, with what was recorded until then;
    `ValueError` for arguments that do not fit together, before anything is compiled.
    """
    key = jax.random.key(0) if key is None else key
    probes = {} if probes is None else dict(probes)
    most = _most_tasks(stream, segment_tasks)
    config = configuration(model, stream, algo, key=key, probes=probes, model_state=model_state)
    # Only those who watch need short segments.
    hurry = segment_tasks is None and not (meter is None and checkpointer is None)
    seconds_per_task = np.inf if hurry else 0.0

    # Errors of the parts show here, before anything is compiled.
    check_parts(
        model,
        stream,
        algo,
        key=key,
        probes=probes,
        model_state=model_state,
        segment_tasks=segment_tasks,
    )
    with single_threaded_blas():
        size = count_members(model, model_state, algo, key)
        stream = stream if size is None else replicate(stream, size)
        run = _start(model, model_state, stream, algo, key)
        done, history = 0, History({})
        if checkpointer is not None:
            done, run, history = checkpointer.restore(config, run) or (done, run, history)
        while done < stream.num_tasks:
            if meter is not None:
                meter.update(done, stream.num_tasks, history)
            run = _begin(run, stream, algo, jnp.asarray(done, int), key)
            history = extend(history, _measure("start", probes, done, run, stream, key), done)

            count = _to_boundary(done, stream.num_tasks, probes)
            count = min(count, most, max(1, int(_SEGMENT_SECONDS / max(seconds_per_task, 1e-9))))
            began = time.perf_counter()
            run, table = _segment(
                run, stream, algo, jnp.asarray(done, int), jnp.asarray(count, int), most, key
            )
            rows = {name: column[:count] for name, column in _columns(table).items()}
            history = extend(history, rows | _marks(run, stream, done, count), done)
            seconds_per_task = (time.perf_counter() - began) / count if hurry else 0.0
            done += count
            _raise_divergence(run, stream, history)
            history = extend(history, _measure("end", probes, done - 1, run, stream, key), done - 1)
            if checkpointer is not None:
                checkpointer.save(config, done, run, history)
        if meter is not None:
            meter.update(done, stream.num_tasks, history)
    return (Ensemble(run.stacked.learner) if isinstance(run, Ensemble) else run.learner), history


def configuration(
    model: PyTree,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    *,
    key: PRNGKeyArray | Ensemble,
    probes: Mapping[str, AbstractProbe],
    model_state: eqx.nn.State | Ensemble | None,
) -> dict[str, Any]:
    """What a checkpointer is given to tell one run from another."""
    return {
        "model": model,
        "model_state": model_state,
        "stream": stream,
        "algorithm": algo,
        "probes": dict(probes),
        "key": key,
    }


def check_parts(
    model: PyTree,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    *,
    key: PRNGKeyArray | Ensemble | None = None,
    probes: Mapping[str, AbstractProbe] | None = None,
    model_state: eqx.nn.State | Ensemble | None = None,
    segment_tasks: int | None = None,
) -> None:
    """Refuse arguments of `train_continual` that do not fit together.

    All programs are traced, as a run would trace them, and none is compiled or run.

    **Raises:** the `ValueError` of the part that does not fit.
    """
    key = jax.random.key(0) if key is None else key
    if not isinstance(key, Ensemble):
        check_one_key(key)
    probes = {} if probes is None else probes
    check_kind("stream", stream, AbstractTaskStream, "tasks.PermutedImages(...)")
    one = algo.stacked if isinstance(algo, Ensemble) else algo
    check_kind("algo", one, Algorithm, "algorithms.bp()")
    check_kind("probes", probes, Mapping, '{"dead": probes.DeadUnits()}')
    for name, probe in probes.items():
        check_kind(f"probes[{name!r}]", probe, AbstractProbe, "probes.DeadUnits()")
        unknown = set(probe.when) - {"start", "end"}
        if not isinstance(probe.when, tuple) or not probe.when or unknown:
            raise ValueError(
                f"`probes[{name!r}].when` is {probe.when!r}, but must be a tuple of 'start' and "
                "'end': pass for example ('start',)."
            )
    steps = stream.num_tasks * stream.chunks_per_task * stream.minibatches
    if steps > np.iinfo(np.int32).max and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"`stream` has {steps} steps, more than a 32-bit clock can count: shorten it, or set "
            "JAX_ENABLE_X64=1."
        )
    most = _most_tasks(stream, segment_tasks)
    check_count("segment_tasks", most)
    for name, probe in probes.items():
        check_count(f"probes[{name!r}].every", probe.every)
    zero = jnp.asarray(0, int)
    run = eqx.filter_eval_shape(_start, model, model_state, stream, algo, key)
    eqx.filter_eval_shape(_begin, run, stream, algo, zero, key)
    eqx.filter_eval_shape(_segment, run, stream, algo, zero, zero, most, key)
    for probe in probes.values():
        eqx.filter_eval_shape(_probe, probe, run, stream, key, zero.astype("uint32"), zero)


def _most_tasks(stream: AbstractTaskStream, segment_tasks: int | None) -> int:
    return min(64, stream.num_tasks) if segment_tasks is None else segment_tasks


def _measured(
    probe: AbstractProbe,
    seen: tuple[Learner, Any],
    stream: AbstractTaskStream,
    key: PRNGKeyArray,
    name: UInt32[Array, ""],
    task: Int[Array, ""],
) -> dict[str, Array]:
    # The compiler may not mix what is measured with how its inputs are come by, which is otherwise
    # alone than among the members of an ensemble: their numbers would be rounded otherwise.
    given, static = eqx.partition((seen, stream, key), eqx.is_array)
    seen, stream, key = eqx.combine(jax.lax.optimization_barrier(given), static)
    learner, state = seen
    own = derive(key, Role.PROBE, name, task)
    measured = probe(learner, stream, state, key=own)
    return {what: jnp.asarray(value, float) for what, value in measured.items()}


_SEGMENT_SECONDS = 2.0
_start = eqx.filter_jit(spread(start_run))
_begin = eqx.filter_jit(spread(begin_task))
_segment = eqx.filter_jit(spread(run_tasks))
_measurement = eqx.filter_jit(spread(_measured))


def _probe(
    probe: AbstractProbe,
    run: Run | Ensemble,
    stream: AbstractTaskStream,
    key: PRNGKeyArray | Ensemble,
    name: UInt32[Array, ""],
    task: Int[Array, ""],
) -> Any:
    # Without the state of the algorithm: those with the same optimiser share the program.
    seen = lambda r: (r.learner, r.stream)
    seen = Ensemble(seen(run.stacked)) if isinstance(run, Ensemble) else seen(run)
    return _measurement(probe, seen, stream, key, name, task)


def _columns(table: dict[str, Array] | Ensemble) -> dict[str, np.ndarray]:
    """The table of a segment as columns: `[tasks, ...]`, or `[tasks, members, ...]`."""
    if isinstance(table, Ensemble):
        return {name: np.asarray(column).swapaxes(0, 1) for name, column in table.stacked.items()}
    return {name: np.asarray(column) for name, column in table.items()}


def _measure(
    when: When,
    probes: dict[str, AbstractProbe],
    task: int,
    run: Run | Ensemble,
    stream: AbstractTaskStream,
    key: PRNGKeyArray | Ensemble,
) -> dict[str, np.ndarray]:
    """One row of the history: what the probes that are due measure."""
    rows = {}
    for name, probe in probes.items():
        if when in probe.when and task % probe.every == 0:
            # The key follows from the probe's name, so that other probes do not change it.
            name_hash = jnp.asarray(zlib.crc32(f"{name}.{when}".encode()), jnp.uint32)
            measured = _probe(probe, run, stream, key, name_hash, jnp.asarray(task, int))
            if isinstance(run, Ensemble):
                lost = np.asarray(run.stacked.divergence.step) >= 0
                found = {k: np.array(v) for k, v in measured.stacked.items()}
                for column in found.values():
                    column[lost] = np.nan
            else:
                found = {k: np.asarray(v) for k, v in measured.items()}
            rows |= {f"{name}.{when}.{k}": v[None] for k, v in found.items()}
    return rows


def _to_boundary(done: int, num_tasks: int, probes: dict[str, AbstractProbe]) -> int:
    """Tasks from `done` to the next boundary at which a probe measures."""
    for end in range(done + 1, num_tasks):
        for probe in probes.values():
            starts = "start" in probe.when and end % probe.every == 0
            ends = "end" in probe.when and (end - 1) % probe.every == 0
            if starts or ends:
                return end - done
    return num_tasks - done


def _raise_divergence(run: Run | Ensemble, stream: AbstractTaskStream, history: History) -> None:
    if isinstance(run, Run) and (step := int(run.divergence.step)) >= 0:
        task = step // (stream.chunks_per_task * stream.minibatches)
        what = place(run.divergence.in_data, run.divergence.in_weights)
        raise Diverged(task, step, what, run.learner, history)


def _marks(
    run: Run | Ensemble, stream: AbstractTaskStream, first: int, count: int
) -> dict[str, np.ndarray]:
    """For `count` tasks from `first` on, where the members of an ensemble diverged."""
    if isinstance(run, Run):
        return {}
    divergence = run.stacked.divergence
    step = np.asarray(divergence.step)
    task = step // (stream.chunks_per_task * stream.minibatches)
    lost = (step >= 0) & (task <= np.arange(first, first + count)[:, None])
    mark = lambda values: np.where(lost, np.asarray(values, float), np.nan)
    return {f"diverged_{name}": mark(value) for name, value in vars(divergence).items()}
