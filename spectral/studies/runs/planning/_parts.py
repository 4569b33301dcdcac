"""The parts of the compiled loop that a dry run times: some steps, and an evaluation.

Each also accepts ensembles.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._carry import arrays_of, on_arrays, with_arrays
from ...._core import clock_at, Run, take_step
from ...._ensemble import spread
from ...._keys import derive, Role
from ....algorithms import Algorithm
from ....tasks import AbstractTaskStream


def _some_steps(
    run: Run,
    stream: AbstractTaskStream,
    algo: Algorithm,
    chunks: Int[Array, ""],
    steps: Int[Array, ""],
    key: PRNGKeyArray,
) -> tuple[Run, Array]:
    """The first `steps` steps of each of the first `chunks` chunks of the first task.

    Both numbers are data, so one program serves all. Steps that the chunk does not use are taken
    too: the first chunks of a replay buffer use none, and the later ones all.
    """
    task = jnp.asarray(0, int)

    def one_chunk(run: Run, index: Array) -> tuple[Run, Array]:
        clock = clock_at(stream, task, index, 0)
        own_key = derive(key, Role.COLLECT, task, index)
        state, chunk, _ = stream.collect(run.stream, run.learner, clock, key=own_key)
        run = Run(run.learner, run.algorithm, state, run.divergence)

        def step(run: Run, i: Array) -> tuple[Run, Array]:
            item = jax.tree.map(lambda x: x[i], chunk.items)
            clock = clock_at(stream, task, index, i)
            run, row = take_step(run, stream, algo, chunk, item, clock, key=key)
            return run, sum(map(jnp.mean, row.values()), jnp.zeros(()))

        return _repeat(step, run, steps)

    return _repeat(one_chunk, run, chunks)


def _repeat(change: Any, run: Run, count: Int[Array, ""]) -> tuple[Run, Array]:
    """`change(run, i)` for each `i` below `count`, and the sum of the numbers that it returns, so
    that XLA computes them."""
    changed = on_arrays(change, run)

    def body(i: Array, carried: Any) -> Any:
        arrays, number = changed(carried[0], i)
        return arrays, carried[1] + number

    arrays, total = jax.lax.fori_loop(0, count, body, (arrays_of(run), jnp.zeros(())))
    return with_arrays(run, arrays), total


def _evaluated(
    run: Run, stream: AbstractTaskStream, algo: Algorithm, key: PRNGKeyArray
) -> dict[str, Array]:
    """What the loop records at the end of a task."""
    evaluation = stream.evaluate(run.stream, run.learner, key=key)
    return evaluation | algo.measure(run.algorithm)


def _minibatches_in_use(
    run: Run, stream: AbstractTaskStream, key: PRNGKeyArray
) -> Int[Array, " tasks"]:
    """How many minibatches of a chunk are in use, in each task.

    A task in which none is in use when it begins counts with all: its first chunks fill a replay
    buffer.
    """

    def one_task(state: Any, task: Array) -> tuple[Any, Array]:
        clock = clock_at(stream, task, 0, 0)
        state = stream.begin_task(state, clock, key=derive(key, Role.BEGIN_STREAM, task))
        own_key = derive(key, Role.COLLECT, task, 0)
        chunk = stream.collect(state, run.learner, clock, key=own_key)[1]
        used = chunk.minibatches if chunk.in_use is None else chunk.in_use
        return state, jnp.asarray(jnp.where(used == 0, chunk.minibatches, used), int)

    steps = on_arrays(one_task, run.stream)
    return jax.lax.scan(steps, arrays_of(run.stream), jnp.arange(stream.num_tasks))[1]


some_steps = eqx.filter_jit(spread(_some_steps))
evaluated = eqx.filter_jit(spread(_evaluated))
minibatches_in_use = eqx.filter_jit(spread(_minibatches_in_use))
