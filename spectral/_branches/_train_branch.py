"""Training that leaves the run alone: some gradient steps of a copy, on another task."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .._base import _returned
from .._carry import arrays_of, branch, on_arrays, strong, with_arrays
from .._core import begin_algorithm, clock_at, Run, take_step
from .._divergence import Divergence
from .._keys import derive, Role
from .._types import Chunk, Clock
from ..algorithms import Algorithm
from ..probes import Start, Trained
from ..tasks import AbstractTaskStream


def train_branch(
    stream: AbstractTaskStream,
    algo: Algorithm,
    start: Start,
    task: Any,
    clock: Clock,
    num_steps: int,
    *,
    evaluate: bool,
    key: PRNGKeyArray,
) -> Trained:
    """Take the first `num_steps` steps of a task, as the loop takes them. `task` is the state of
    the stream after it has begun the task. Copies of the network in it, such as the target network
    of `DQN`, become those of the learner of the branch."""
    task = stream.begin_run(task, start.learner)
    begin = lambda run: begin_algorithm(run, stream, algo, clock, key)
    run = strong(Run(start.learner, start.memory, task, Divergence.none()))
    run = branch(start.begins, begin, run)
    if num_steps == 0:
        return Trained(run.learner, jnp.zeros(0), {})
    length = min(stream.minibatches, num_steps)  # steps of a chunk that may be taken
    chunks = jnp.arange(-(-num_steps // length))
    one_chunk = lambda run, index: _train_chunk(
        run, stream, algo, clock, index, length, num_steps, evaluate=evaluate, key=key
    )
    arrays, (losses, metrics) = jax.lax.scan(on_arrays(one_chunk, run), arrays_of(run), chunks)
    learner = with_arrays(run, arrays).learner
    return Trained(learner, losses.reshape(-1)[:num_steps], metrics)


def _train_chunk(
    run: Run,
    stream: AbstractTaskStream,
    algo: Algorithm,
    first: Clock,
    index: Array,
    length: int,
    num_steps: int,
    *,
    evaluate: bool,
    key: PRNGKeyArray,
) -> tuple[Run, tuple[Array, dict[str, Array]]]:
    clock = clock_at(stream, first.task, index, 0)
    own_key = derive(key, Role.COLLECT, first.task, index)
    found = stream.collect(run.stream, run.learner, clock, key=own_key)
    _returned.check_tuple(stream, "collect", found, object, Chunk, dict)
    state, chunk, _ = found
    run = Run(run.learner, run.algorithm, state, run.divergence)
    most = chunk.minibatches if chunk.in_use is None else chunk.in_use

    def step(run: Run, xs: Any) -> tuple[Run, Array]:
        item, i = xs
        run, row = take_step(
            run, stream, algo, chunk, item, clock_at(stream, first.task, index, i), key=key
        )
        # NaN marks steps that are not taken.
        return run, jnp.where(jnp.isnan(row["loss"]), jnp.inf, row["loss"])

    one_step, steps = on_arrays(step, run), jnp.arange(length)
    items = jax.tree.map(lambda leaf: leaf[:length], chunk.items)
    one_item = jax.tree.map(lambda leaf: leaf[0], (items, steps))
    loss = jax.eval_shape(one_step, arrays_of(run), one_item)[1]

    def maybe(arrays: Any, xs: Any) -> tuple[Any, Array]:
        taken = (index * length + xs[1] < num_steps) & (xs[1] < most)
        skip = lambda arrays, _: (arrays, jnp.full(loss.shape, jnp.nan, loss.dtype))
        return jax.lax.cond(taken, one_step, skip, arrays, xs)

    arrays, losses = jax.lax.scan(maybe, arrays_of(run), (items, steps))
    run = with_arrays(run, arrays)
    if not evaluate:
        return run, (losses, {})
    own_key = derive(key, Role.EVALUATE, index)
    metrics = stream.evaluate(run.stream, run.learner, key=own_key)
    _returned.check_row(stream, "evaluate", metrics)
    return run, (losses, metrics)
