"""`train_continual`: a thin shell around compiled segments of tasks."""

import time
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from . import _programs
from ._base._processes import check_same, first_before_others, gathered, is_first, of_all
from ._blas import single_threaded_blas
from ._check_parts import check_parts, max_segment_tasks
from ._core import Run
from ._divergence import Diverged, place
from ._ensemble import count_members, Ensemble, labels_of, replicate, unlabelled
from ._history import GrowingHistory, History
from ._measuring import calibrate, measure, networks, to_boundary
from ._recorders import AbstractCheckpointer, AbstractMeter
from .algorithms import Algorithm
from .probes import AbstractProbe
from .tasks import AbstractTaskStream


_SEGMENT_SECONDS = 2.0


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
    batch_dependent: bool = False,
) -> tuple[Any, History]:
    """Train `model` on all tasks of `stream`, one after the other, with `algo`.

    The training is one compiled program, which is called for one segment of tasks at a time.

    ```python
    stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=5)
    model = models.MLP(64, 10, width=32, key=jax.random.key(0))
    learner, history = train_continual(model, stream, algorithms.bp(lr=0.03))
    history["test_accuracy"]
    ```

    **Main arguments:**

    - `model`: a network that returns `(outputs, taps)` for one example, such as those of
      `spectral.models`; or a trained one, as a `Learner` or a `Run`: see below.
    - `stream`: the tasks, such as `spectral.tasks.PermutedImages`.
    - `algo`: the algorithm, such as `spectral.algorithms.l2_er()`.
    - `key`: determines everything random; by default `jax.random.key(0)`.
    - `probes`: measurements at task boundaries, by name. They never change the training.

    **Other arguments:**

    - `model_state`: the running statistics of a network made by `eqx.nn.make_with_state`.
    - `segment_tasks`: the largest number of tasks in a segment, after which the meter and the
      checkpointer are called. By default a segment takes about two seconds. The length does not
      change any result.
    - `meter`, `checkpointer`: see `spectral.recording`. If the checkpointer holds a state of the
      same configuration, the run continues from it.
    - `batch_dependent`: accept a network whose outputs for an example depend on the other examples
      of its batch in inference mode too, where BatchNorm should use its running statistics. What
      evaluations and probes record then depends on the sizes of their batches.

    **Trained networks.** A `Learner`, as this function returns it, is trained further: the run
    starts from its weights, model state and state of the optimiser. The numbers of the optimiser,
    such as the learning rate, are those of `algo`. What penalties and transforms remember (initial
    weights, ages of units) is initialised again. With a `Run`, as `train_tasks` returns it, it is
    kept too.
    Tasks and steps are counted from 0, and the stream begins with its first task.

    ```python
    learner, _ = train_continual(model, stream, algorithms.bp(lr=0.03))
    learner, _ = train_continual(learner, stream, algorithms.bp(lr=0.01), key=jax.random.key(1))
    ```

    **Ensembles.** If `model`, `algo`, `key` or `model_state` is an `Ensemble`, its members are
    trained as separate runs of one program and share all other arguments. The columns of the
    history then have a second axis over members, and the learner is an ensemble. Labels of the
    members become coordinates of that axis (`History.to_xarray`). With `jax.distributed`, the
    members are spread over the devices of all processes, see `docs/scale.md`. A member that
    diverges does not raise and does not change the others: its rows are NaN from then on, and the
    columns `diverged_step`, `diverged_in_weights` and `diverged_in_data` (0 or 1), otherwise NaN,
    mark it.

    **Returns:** the `Learner` after the last task (an `Ensemble` of them), and the history.

    **Raises:** `Diverged` if a loss or weight is not finite; it holds what was recorded until then.
    `ValueError` or `TypeError` if the arguments do not fit together, before anything is compiled:
    for example if the state of a learner's optimiser does not have the structure that `algo` needs,
    or if the outputs of a network with a model state depend on the other examples of a batch in
    inference mode.
    It names the method of a part that returns something else than it must, and the probe in which
    something fails. `LostProcessError` if another process of an ensemble cannot be reached.
    """
    key = jax.random.key(0) if key is None else key
    probes = {} if probes is None else probes
    labels = labels_of(model, model_state, algo, key)
    model, model_state = unlabelled(model), unlabelled(model_state)
    algo, key = unlabelled(algo), unlabelled(key)
    # Errors in the parts are raised here, before anything is compiled.
    quantities = check_parts(
        model,
        stream,
        algo,
        key=key,
        probes=probes,
        model_state=model_state,
        segment_tasks=segment_tasks,
        batch_dependent=batch_dependent,
    )
    probes = dict(probes)
    max_tasks = max_segment_tasks(stream, segment_tasks)
    config = configuration(model, stream, algo, key=key, probes=probes, model_state=model_state)
    size = count_members(model, model_state, algo, key)
    # Several processes train an ensemble together, and single runs each on its own.
    in_each = of_all if size is not None else lambda value: [value]
    if size is not None and jax.process_count() > 1:
        every = None if checkpointer is None else (checkpointer.every,)
        cadences = sorted((name, probe.every, probe.when) for name, probe in probes.items())
        check_same((model, model_state, algo, key), (every, segment_tasks, cadences))
    # Short segments matter only when a meter or a checkpointer is attached, in any process.
    attached = meter is not None or checkpointer is not None
    adaptive = segment_tasks is None and max(in_each(float(attached))) > 0
    seconds_per_task = np.inf if adaptive else 0.0
    with single_threaded_blas():
        stream = stream if size is None else replicate(stream, size)
        run = _programs.start(model, model_state, stream, algo, key)
        initial, calibrations = networks(run), calibrate(probes, run, stream, algo, key)
        done, history = 0, History({})
        if checkpointer is not None:
            done, run, history = _restored(checkpointer, config, run) or (done, run, history)
        history = History(history, members=labels, quantities=quantities)
        given = stream, algo, key, initial, calibrations
        growing = GrowingHistory(history, num_tasks=stream.num_tasks)
        while done < stream.num_tasks:
            if meter is not None:
                meter.update(done, stream.num_tasks, growing.history)
            run = _programs.begin(run, stream, algo, jnp.asarray(done, int), key)
            growing.write(measure("start", probes, done, run, *given), done)

            count = to_boundary(done, stream.num_tasks, probes)
            if checkpointer is not None and checkpointer.every is not None:
                count = min(count, checkpointer.every - done % checkpointer.every)
            count = min(
                count, max_tasks, max(1, int(_SEGMENT_SECONDS / max(seconds_per_task, 1e-9)))
            )
            began = time.perf_counter()
            run, table = _programs.segment(
                run, stream, algo, jnp.asarray(done, int), jnp.asarray(count, int), max_tasks, key
            )
            rows = {name: column[:count] for name, column in _columns(gathered(table)).items()}
            growing.write(rows | _marks(run, stream, done, count), done)
            if adaptive:
                # The segments of all processes must have the same length.
                seconds_per_task = max(in_each((time.perf_counter() - began) / count))
            done += count
            _raise_divergence(run, stream, growing.history)
            growing.write(measure("end", probes, done - 1, run, *given), done - 1)
            if checkpointer is not None:
                whole = gathered(run)
                if is_first() or size is None:
                    checkpointer.save(config, done, whole, growing.history)
        history = growing.history
        if meter is not None:
            meter.update(done, stream.num_tasks, history)
    if isinstance(run, Ensemble):
        return Ensemble(gathered(run.stacked.learner), labels=labels), history
    return run.learner, history


def configuration(
    model: PyTree,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    *,
    key: PRNGKeyArray | Ensemble,
    probes: Mapping[str, AbstractProbe],
    model_state: eqx.nn.State | Ensemble | None,
) -> dict[str, Any]:
    """The parts of a run by which a checkpointer recognises it."""
    return {
        "model": model,
        "model_state": model_state,
        "stream": stream,
        "algorithm": algo,
        "probes": dict(probes),
        "key": key,
    }


def _restored(
    checkpointer: AbstractCheckpointer, config: PyTree, run: Run | Ensemble
) -> tuple[int, Run | Ensemble, History] | None:
    """What the checkpointer restores, which must be the same in all processes of an ensemble."""
    if isinstance(run, Run):
        return checkpointer.restore(config, run)
    found = first_before_others(lambda: checkpointer.restore(config, run))
    done = [int(count) for count in of_all(-1 if found is None else found[0])]
    if len(set(done)) > 1:
        states = ", ".join("none" if count < 0 else f"task {count}" for count in done)
        raise ValueError(
            f"The processes of this run find different checkpoints ({states}), but must find the "
            "same: put them into a folder that all processes share."
        )
    return found


def _columns(table: dict[str, Array] | Ensemble) -> dict[str, np.ndarray]:
    """The table of a segment as columns: `[tasks, ...]`, or `[tasks, members, ...]`."""
    if isinstance(table, Ensemble):
        return {name: np.asarray(column).swapaxes(0, 1) for name, column in table.stacked.items()}
    return {name: np.asarray(column) for name, column in table.items()}


def _raise_divergence(run: Run | Ensemble, stream: AbstractTaskStream, history: History) -> None:
    if isinstance(run, Run) and (step := int(run.divergence.step)) >= 0:
        task = step // (stream.chunks_per_task * stream.minibatches)
        what = place(run.divergence.in_data, run.divergence.in_weights)
        raise Diverged(task, step, what, run.learner, history)


def _marks(
    run: Run | Ensemble, stream: AbstractTaskStream, first: int, count: int
) -> dict[str, np.ndarray]:
    """Columns for `count` tasks from task `first` that mark the members that have diverged."""
    if isinstance(run, Run):
        return {}
    divergence = gathered(run.stacked.divergence)
    step = np.asarray(divergence.step)
    task = step // (stream.chunks_per_task * stream.minibatches)
    lost = (step >= 0) & (task <= np.arange(first, first + count)[:, None])
    mark = lambda values: np.where(lost, np.asarray(values, float), np.nan)
    return {f"diverged_{name}": mark(value) for name, value in vars(divergence).items()}
