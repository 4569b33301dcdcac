"""The compiled loop: tasks, chunks and gradient steps.

It knows only `AbstractTaskStream` and `Algorithm`, no particular stream or algorithm. The number of
tasks in a segment is data, not a shape, so one compiled program serves segments of any length.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from ._base import _returned
from ._base._precision import in_single
from ._carry import arrays_of, branch, on_arrays, strong, with_arrays
from ._divergence import Divergence, void
from ._keys import derive, Role
from ._types import Aux, Chunk, Clock, Learner, Signal, Step, TaskStart
from .algorithms import Algorithm, AlgorithmState
from .probes import measure_at_start
from .tasks import AbstractTaskStream


class Run(eqx.Module):
    """The state of a run: everything that changes during training."""

    learner: Learner
    algorithm: AlgorithmState
    stream: Any
    divergence: Divergence


def start_run(
    model: PyTree,
    model_state: eqx.nn.State | None,
    stream: AbstractTaskStream,
    algo: Algorithm,
    key: PRNGKeyArray,
) -> Run:
    """The run before its first task. `model` is a network, a `Learner` or a `Run`."""
    learner, algorithm = _start_learner(
        model, model_state, algo, key=derive(key, Role.INIT_ALGORITHM)
    )
    state = stream.begin_run(stream.init(key=derive(key, Role.INIT_STREAM)), learner)
    return strong(Run(learner, algorithm, state, Divergence.none()))


def begin_task(
    run: Run,
    stream: AbstractTaskStream,
    algo: Algorithm,
    task: Int[Array, ""],
    key: PRNGKeyArray,
) -> Run:
    """Begin a task: change the stream, then let the algorithm prepare."""
    clock = clock_at(stream, task, 0, 0)
    state = stream.begin_task(run.stream, clock, key=derive(key, Role.BEGIN_STREAM, task))
    _returned.check_kept(stream, "begin_task", run.stream, state)
    run = Run(run.learner, run.algorithm, state, run.divergence)
    return begin_algorithm(run, stream, algo, clock, key)


def begin_algorithm(
    run: Run, stream: AbstractTaskStream, algo: Algorithm, clock: Clock, key: PRNGKeyArray
) -> Run:
    """Let the algorithm prepare for the task that the stream has begun."""
    draw = jax.tree_util.Partial(stream.sample, run.stream, run.learner)
    probed = jax.tree_util.Partial(measure_at_start, stream, run.stream, clock.task, key)
    start = TaskStart(clock, draw, stream.forward, stream.criterion, probed)
    learner, algorithm = algo.begin_task(
        run.learner, run.algorithm, start, key=derive(key, Role.BEGIN_ALGORITHM, clock.task)
    )
    _returned.check_static_kept("begin_task", (run.learner, run.algorithm), (learner, algorithm))
    return strong(Run(learner, algorithm, run.stream, run.divergence))


def run_tasks(
    run: Run,
    stream: AbstractTaskStream,
    algo: Algorithm,
    first: Int[Array, ""],
    count: Int[Array, ""],
    rows: int,
    key: PRNGKeyArray,
) -> tuple[Run, dict[str, Array]]:
    """Train `count` tasks, starting with task `first`, which has already begun.

    Returns the run and a table of metrics with `rows` rows; the first `count` rows are filled.
    """

    def one_task(carried, i):
        run, table = carried
        task = first + i
        run = branch(i > 0, lambda run: begin_task(run, stream, algo, task, key), run)
        run, row = _train_task(run, stream, algo, task, key=key)
        return run, jax.tree.map(lambda t, r: t.at[i].set(r), table, row)

    row = eqx.filter_eval_shape(_train_task, run, stream, algo, first, key=key)[1]
    table = jax.tree.map(lambda r: jnp.zeros((rows, *r.shape), r.dtype), row)
    step = on_arrays(one_task, (run, table))
    arrays = jax.lax.fori_loop(0, count, lambda i, a: step(a, i), arrays_of((run, table)))
    return with_arrays((run, table), arrays)


def train_tasks(
    model: PyTree,
    stream: AbstractTaskStream,
    algo: Algorithm,
    *,
    key: PRNGKeyArray,
    model_state: eqx.nn.State | None = None,
) -> tuple[Run, dict[str, Array]]:
    """Train on all tasks of a stream, as one pure function for `jax.jit` and `jax.vmap`.

    This is `spectral.train_continual` without probes, checkpoints, progress, and the error for a
    run that diverges (see `Run.divergence`). Returns the run after the last task, and the metrics
    with a leading axis over tasks.

    ```python
    def accuracy(key, lr):
        return train_tasks(model, stream, algorithms.bp(lr), key=key)[1]["test_accuracy"]

    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.array([0.01, 0.03])
    jax.jit(jax.vmap(accuracy))(keys, rates)  # [members, tasks]
    ```
    """
    first, count = jnp.asarray(0, int), jnp.asarray(stream.num_tasks, int)
    run = start_run(model, model_state, stream, algo, key)
    run = begin_task(run, stream, algo, first, key)
    return run_tasks(run, stream, algo, first, count, stream.num_tasks, key)


def _train_task(
    run: Run,
    stream: AbstractTaskStream,
    algo: Algorithm,
    task: Int[Array, ""],
    *,
    key: PRNGKeyArray,
) -> tuple[Run, dict[str, Array]]:
    def chunk(run, index):
        return _train_chunk(run, stream, algo, task, index, key=key)

    # An inner `jit` is traced once and serves both `eval_shape` and the scan.
    one_chunk = jax.jit(on_arrays(chunk, run))
    chunks = jnp.arange(stream.chunks_per_task)
    shapes = jax.eval_shape(one_chunk, arrays_of(run), chunks[0])[1]

    def unless_diverged(arrays, index):
        stay = lambda arrays, _: (arrays, jax.tree.map(lambda s: jnp.full_like(s, jnp.nan), shapes))
        return jax.lax.cond(arrays.divergence.everywhere, stay, one_chunk, arrays, index)

    arrays, row = jax.lax.scan(unless_diverged, arrays_of(run), chunks)
    run = with_arrays(run, arrays)
    evaluation = stream.evaluate(run.stream, run.learner, key=derive(key, Role.EVALUATE, task))
    _returned.check_row(stream, "evaluate", evaluation)
    _returned.check_no_twins(stream, row, evaluation)
    measured = algo.measure(run.algorithm)
    return run, row | void(evaluation | measured, run.divergence.found)


def _train_chunk(
    run: Run,
    stream: AbstractTaskStream,
    algo: Algorithm,
    task: Int[Array, ""],
    index: Int[Array, ""],
    *,
    key: PRNGKeyArray,
) -> tuple[Run, dict[str, Array]]:
    start, before = clock_at(stream, task, index, 0), run.divergence
    found = stream.collect(
        run.stream, run.learner, start, key=derive(key, Role.COLLECT, task, index)
    )
    _returned.check_tuple(stream, "collect", found, object, Chunk, dict)
    state, chunk, collected = found
    _returned.check_minibatches(stream, chunk.items, stream.minibatches)
    _returned.check_kept(stream, "collect", run.stream, state)
    run = Run(run.learner, run.algorithm, state, before)

    def step(run, xs):
        item, i = xs
        return take_step(run, stream, algo, chunk, item, clock_at(stream, task, index, i), key=key)

    one_step, steps = on_arrays(step, run), jnp.arange(stream.minibatches)
    if chunk.in_use is None:
        used = jnp.ones(stream.minibatches, bool)
        arrays, metrics = jax.lax.scan(one_step, arrays_of(run), (chunk.items, steps))
    else:
        used = steps < chunk.in_use
        first = jax.tree.map(lambda x: x[0], (chunk.items, steps))
        shapes = jax.eval_shape(one_step, arrays_of(run), first)[1]

        def maybe(arrays, xs):
            skip = lambda a, _: (a, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))
            return jax.lax.cond(xs[1] < chunk.in_use, one_step, skip, arrays, xs)

        arrays, metrics = jax.lax.scan(maybe, arrays_of(run), (chunk.items, steps))

    run = with_arrays(run, arrays)
    after = before.watch(run.learner.model, metrics["loss"], used, start.step, chunk.items)
    _returned.check_no_twins(stream, metrics, collected)
    metrics = jax.tree.map(lambda m: _mean(m, used), metrics)
    # The data of the chunk that diverged were collected before, and their metrics may show why.
    # A chunk of which no minibatch is in use has no means.
    unknown = after.found if chunk.in_use is None else after.found | (chunk.in_use == 0)
    row = void(metrics, unknown) | void(collected, before.found)
    return Run(run.learner, run.algorithm, run.stream, after), row


def take_step(
    run: Run,
    stream: AbstractTaskStream,
    algo: Algorithm,
    chunk: Chunk,
    item: PyTree,
    clock: Clock,
    *,
    key: PRNGKeyArray,
) -> tuple[Run, dict[str, Array]]:
    learner = run.learner
    batch = stream.batch(run.stream, item)
    _returned.check_arrays(stream, "batch", batch)
    where = (clock.task, clock.chunk, clock.step_in_chunk)
    params, static = eqx.partition(learner.model, eqx.is_inexact_array)
    now = Step(
        clock=clock,
        model=learner.model,
        model_state=jax.tree.map(lambda x: x, learner.model_state),  # a pass invalidates its own
        batch=batch,
        chunk=chunk,
        take=jax.tree_util.Partial(stream.batch, run.stream),
        forward=stream.forward,
        criterion=stream.criterion,
        reference=chunk.random_minibatch(key=derive(key, Role.REFERENCE, *where)),
        key=derive(key, Role.PENALTY, *where),
    )

    def objective(params):
        model = eqx.combine(params, static)
        forward_key = derive(key, Role.FORWARD, *where)
        passed = stream.forward(model, learner.model_state, batch, key=forward_key, inference=False)
        _returned.check_tuple(stream, "forward", passed, object, Aux)
        outputs, aux = passed
        judged = stream.criterion(outputs, batch)
        _returned.check_tuple(stream, "criterion", judged, object, dict)
        loss, metrics = judged
        _returned.check_loss(stream, "criterion", loss)
        total = loss + algo.penalty(model, run.algorithm, now) if algo.penalties else loss
        return total, (loss, metrics, aux)

    valued = jax.value_and_grad(objective, has_aux=True)
    (total, (loss, metrics, aux)), grads = valued(params)
    signal = Signal(
        step=now, loss=loss, metrics=metrics, taps=aux.taps, objective=total, grads=grads
    )
    learner, algorithm = algo.update(
        Learner(learner.model, aux.model_state, learner.optimiser),
        run.algorithm,
        signal,
        key=derive(key, Role.UPDATE, *where),
    )
    _returned.check_no_twins(stream, metrics, {"loss": loss})
    _returned.check_static_kept("update", (run.learner, run.algorithm), (learner, algorithm))
    return Run(learner, algorithm, run.stream, run.divergence), in_single({"loss": loss} | metrics)


def _start_learner(
    model: PyTree, model_state: eqx.nn.State | None, algo: Algorithm, *, key: PRNGKeyArray
) -> tuple[Learner, AlgorithmState]:
    if not isinstance(model, Learner | Run):
        return algo.init(model, model_state, key=key)
    if model_state is not None:
        raise ValueError(
            f"`model_state` is given, but `model` is a {type(model).__name__}, which holds one: "
            "leave `model_state` out."
        )
    if isinstance(model, Run):
        return algo.continue_from(model.learner, model.algorithm, key=key)
    return algo.continue_from(model, key=key)


def _mean(values: Array, used: Bool[Array, " steps"]) -> Array:
    used = used.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.sum(jnp.where(used, values, 0), axis=0) / jnp.maximum(jnp.sum(used), 1)


def clock_at(stream: AbstractTaskStream, task: Int[Array, ""], chunk: Any, step: Any) -> Clock:
    before = (task * stream.chunks_per_task + chunk) * stream.minibatches
    return Clock(
        step=jnp.asarray(before + step, int),
        step_in_chunk=jnp.asarray(step, int),
        chunk=jnp.asarray(chunk, int),
        task=jnp.asarray(task, int),
    )
