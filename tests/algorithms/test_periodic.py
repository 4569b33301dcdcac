"""Cadence: which steps complete a period, against a count in plain Python."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import after_step, learner_of, mlp, signal_at, start_of
from watching import CountSteps

from spectral import Clock
from spectral._types import Chunk
from spectral.algorithms import HareTortoise, Periodic
from spectral.algorithms._base._periodic import is_due


KEY = jax.random.key(0)
MINIBATCHES, CHUNKS = 4, 12
SLOTS = MINIBATCHES * CHUNKS
PERIODS = (1, 2, 4, 8, 12, 16)  # parts of a chunk, a chunk, and two, three and four chunks


@jax.jit
def due_by_period(places, in_use):
    """For each period, whether each step is due: with whole chunks, and with `in_use` of each."""
    signal = signal_at(None, jnp.ones((MINIBATCHES, 1)), taps={})

    def due(place, used, period):
        now = eqx.tree_at(lambda s: s.clock, signal, Clock(*place))
        chunk = Chunk(signal.chunk.items, in_use=used)
        return is_due(eqx.tree_at(lambda s: s.chunk, now, chunk), period)

    whole = {p: jax.vmap(lambda *at, p=p: due(at, None, p))(*places) for p in PERIODS}
    return whole, {p: jax.vmap(lambda at, n, p=p: due(at, n, p))(places, in_use) for p in PERIODS}


def due_in_python(period, in_use):
    """Cuts the steps of the run into blocks of `period`. A block ends at its last step in use; a
    block that is shorter than a chunk counts only if all of it is in use."""
    due = np.zeros(SLOTS, bool)
    for start in range(0, SLOTS, period):
        block = range(start, start + period)
        used = [step for step in block if step % MINIBATCHES < in_use[step // MINIBATCHES]]
        if len(used) == period or period >= MINIBATCHES:
            due[used[-1]] = True
    return due


@pytest.mark.parametrize("chunks_per_task", [1, 2, 3])
def test_steps_that_complete_a_period(chunks_per_task):
    """In tasks of one, two and three chunks. Periods of two and three chunks cross their ends."""
    step = np.arange(SLOTS)
    chunk, task = step // MINIBATCHES % chunks_per_task, step // MINIBATCHES // chunks_per_task
    places = (step, step % MINIBATCHES, chunk, task)
    in_use = np.random.default_rng(0).integers(1, MINIBATCHES + 1, CHUNKS)
    whole, part = due_by_period(places, np.repeat(in_use, MINIBATCHES))
    trained = step % MINIBATCHES < np.repeat(in_use, MINIBATCHES)  # the loop skips other steps
    for period in PERIODS:
        assert SLOTS % period == 0
        every = due_in_python(period, [MINIBATCHES] * CHUNKS)
        assert np.flatnonzero(every).tolist() == list(range(period - 1, SLOTS, period))
        np.testing.assert_array_equal(whole[period], every, err_msg=str(period))
        expected = due_in_python(period, in_use)
        np.testing.assert_array_equal(np.asarray(part[period])[trained], expected[trained])


def test_the_transform_acts_when_a_period_is_complete():
    learner, inputs = learner_of(mlp(1, 1, depth=0)), jnp.ones((8, 1, 1))
    transform = Periodic(CountSteps(), 4)
    state = transform.init(learner, key=KEY)
    counts = []
    for step in range(8):
        _, state = after_step(transform, learner, inputs, step, state=state, key=KEY)
        counts.append(state.tolist())
    assert counts == [[0, 0]] * 3 + [[1, 3]] * 4 + [[2, 7]]
    _, state = transform.begin_task(learner, state, start_of(), key=KEY)
    assert state.tolist() == [1002, 7]


@pytest.mark.parametrize("transform", [Periodic(CountSteps(), 3), HareTortoise(period=12)])
def test_a_period_that_does_not_fit_is_rejected(transform):
    learner, inputs = learner_of(mlp(1, 1, depth=0)), jnp.ones((8, 1, 1))
    message = f"A period of {transform.period} steps does not fit a chunk of 8 .*: choose a period"
    with pytest.raises(ValueError, match=message):
        after_step(transform, learner, inputs, key=KEY)


@pytest.mark.parametrize(
    "make", [lambda: Periodic(CountSteps(), 0), lambda: HareTortoise(period=0)]
)
def test_a_period_below_one_is_rejected(make):
    with pytest.raises(ValueError, match="`period` is 0"):
        make()
