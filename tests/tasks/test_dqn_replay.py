"""Transitions of several steps and their replay, against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral.tasks.rl.dqn._replay import Replay
from spectral.tasks.rl.dqn._transition import PlayedSteps, transitions_from


KEY = jax.random.key(3)
DISCOUNT = 0.9
BYTES = jax.ShapeDtypeStruct((2,), jnp.uint8)
include = jax.jit(lambda replay, steps: replay.including(steps, discount=DISCOUNT))
thin = jax.jit(lambda replay, fraction, key: replay.thinned(fraction, key=key))


def played(num_steps: int, num_environments: int, seed: int = 0) -> PlayedSteps:
    """Steps whose observations name them: (step, environment), and 100 more for what follows."""
    rng = np.random.default_rng(seed)
    shape = (num_steps, num_environments)
    seen = np.stack(list(np.indices(shape)), axis=-1).astype(np.uint8)
    ended = rng.random(shape) < 0.3
    return PlayedSteps(
        observation=jnp.asarray(seen),
        action=jnp.asarray(rng.integers(0, 3, shape)),
        reward=jnp.asarray(rng.normal(size=shape).astype(np.float32)),
        terminated=jnp.asarray(ended & (rng.random(shape) < 0.5)),
        ended=jnp.asarray(ended),
        following=jnp.asarray(seen + np.uint8(100)),
    )


def expected(steps: PlayedSteps, n: int) -> list[tuple]:
    """The transitions of complete returns, in the order of their first steps."""
    s = jax.tree.map(np.asarray, steps)
    found = []
    for t in range(s.reward.shape[0] - n + 1):
        for e in range(s.reward.shape[1]):
            total, factor, k = 0.0, 1.0, t
            while True:
                total += factor * s.reward[k, e]
                factor *= DISCOUNT
                if s.ended[k, e] or k == t + n - 1:
                    break
                k += 1
            factor = 0.0 if s.terminated[k, e] else factor
            row = (s.observation[t, e], s.action[t, e], total, factor, s.following[k, e])
            found.append(row)
    return found


def assert_rows(transitions, rows):
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    leaves = jax.tree.leaves(transitions)
    for got, right in zip(leaves, columns, strict=True):
        np.testing.assert_allclose(got, right, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("n", [1, 3])
def test_returns_stop_at_the_end_of_an_episode(n):
    """A terminated step has no value after it, a truncated one has that of its own last
    observation, and no reward of the next episode counts."""
    steps = played(12, 2)
    assert np.asarray(steps.terminated).any()
    assert (np.asarray(steps.ended) & ~np.asarray(steps.terminated)).any()
    found = transitions_from(steps, n, discount=DISCOUNT)
    assert found.observation.dtype == found.following.dtype == jnp.uint8
    assert_rows(found, expected(steps, n))


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_the_replay_holds_the_last_complete_transitions(n):
    """Rollouts of 2 steps in 2 environments: with n = 3 the first transitions are complete after
    the second rollout. Nothing else is ever marked as real, and the oldest is replaced first."""
    steps, capacity = played(14, 2), 9
    replay = Replay.empty(capacity, BYTES, num_environments=2, steps_per_return=n)
    for end in range(2, 15, 2):
        replay = include(replay, jax.tree.map(lambda x, end=end: x[end - 2 : end], steps))
        until = jax.tree.map(lambda x, end=end: x[:end], steps)
        rows = expected(until, n) if end >= n else []
        assert int(replay.size) == min(len(rows), capacity)
        if len(rows) == 0:
            continue
        kept = rows[-capacity:]
        # Row i of the run is at i modulo the capacity.
        slots = [(len(rows) - len(kept) + i) % capacity for i in range(len(kept))]
        assert_rows(replay.transitions.take(jnp.asarray(slots)), kept)
    assert replay.transitions.observation.dtype == jnp.uint8


def full_replay(n: int, num_steps: int) -> Replay:
    replay = Replay.empty(9, BYTES, num_environments=1, steps_per_return=n)
    steps = jax.tree.map(np.asarray, played(num_steps, 1))
    for t in range(num_steps):
        replay = include(replay, jax.tree.map(lambda x, t=t: jnp.asarray(x[t : t + 1]), steps))
    return replay


def steps_of(replay: Replay) -> list[int]:
    """The first steps of the transitions, in the order of their places."""
    return np.asarray(replay.transitions.observation[: int(replay.size), 0]).tolist()


def test_a_change_of_task_keeps_thins_or_empties_the_replay():
    """Those that stay are a random part in their order, whether or not the ring is full and has
    turned. New ones replace the oldest. An emptied replay forgets the steps that wait, too."""
    turned, partly = full_replay(2, 15), full_replay(2, 7)
    assert sorted(steps_of(turned)) == list(range(5, 14))
    assert steps_of(partly) == list(range(6))
    one = jax.tree.map(lambda x: x[:1], played(1, 1))
    for replay, before in ((turned, list(range(5, 14))), (partly, list(range(6)))):
        assert steps_of(thin(replay, 1.0, KEY)) == before
        draws = [steps_of(thin(replay, 0.5, jax.random.fold_in(KEY, i))) for i in range(3)]
        assert all(len(d) == -(-len(before) // 2) and sorted(d) == d for d in draws)
        assert all(set(d) <= set(before) for d in draws)
        assert len({tuple(d) for d in draws}) > 1
        empty = thin(replay, 0.0, KEY)
        assert (int(empty.size), int(empty.head), int(empty.num_pending)) == (0, 0, 0)
        # The first step after it completes no transition, because none waits.
        assert int(include(empty, one).size) == 0
    half = thin(turned, 0.5, KEY)
    kept = steps_of(half)
    assert steps_of(include(half, one))[:5] == kept
    whole = include(thin(turned, 1.0, KEY), one)
    assert steps_of(whole)[1:] == list(range(6, 14))  # the oldest, at 0, was replaced


def test_draws_are_uniform_over_what_is_real():
    replay = full_replay(2, 5)
    counts = np.bincount(np.asarray(replay.draw(4000, key=KEY)), minlength=9)
    assert counts[4:].sum() == 0
    assert counts[:4].min() > 880  # 1000 expected, with a deviation of 27
    assert replay.draw(2, 3, key=KEY).shape == (2, 3)
