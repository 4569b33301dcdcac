"""Playing in an environment that changes, against loops in NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from counting import Counting

from spectral.tasks import (
    ChangingEnvironment,
    Cycle,
    LogUniform,
    PointMass,
    Revisit,
    TimeLimit,
)
from spectral.tasks.rl.ppo._rollout import begin, play


VALUES = (0.5, 1.5, 4.0)
TASK = 14  # steps, of which rollouts of 10 are no divisor
KEY = jax.random.key(3)


@eqx.filter_jit
def ten_steps(world: ChangingEnvironment, values: Any, players: Any, key: Any):
    act = lambda observations, key: jax.random.normal(key, (observations.shape[0], 1))
    return play(world, values, players, act, 10, clip=True, key=key)


def forty_steps(world: ChangingEnvironment, environments: int = 1, rollouts: int = 4):
    """Four rollouts in a row, or as many as are given, joined."""
    values = world.schedule.values(4, key=KEY)[:4]
    players, parts = begin(world, values, environments, key=KEY), []
    for i in range(rollouts):
        players, rollout = ten_steps(world, values, players, jax.random.fold_in(KEY, i))
        parts.append(rollout)
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def changing(change: Any) -> ChangingEnvironment:
    return ChangingEnvironment(Counting(), Cycle(VALUES), TASK, change=change)


@pytest.fixture(scope="module")
def played():
    kinds = {"step": 4, "episode": 4, "drift": 6}
    return {kind: forty_steps(changing(kind), rollouts=n) for kind, n in kinds.items()}


@pytest.fixture(scope="module")
def beside():
    """Two environments side by side."""
    return forty_steps(changing("step"), environments=2)


def test_episodes(played, beside):
    """Counts, ends and totals; the tag, which says how an episode ends, changes with each."""
    for rollout in (played["step"], beside):
        for e in range(rollout.total.shape[1]):
            seen, after = rollout.observation[:, e], rollout.step.observation[:, e]
            count, total, tags = 0, 0.0, []
            for t in range(40):
                tag = seen[t, 1]
                if count == 0:
                    tags.append(tag)
                assert seen[t, 0] == count
                assert tag == tags[-1] == after[t, 1]
                count += 1
                # What follows an action is of the same episode, also after the last.
                assert after[t, 0] == count
                applied = np.clip(rollout.action[t, e, 0], -1, 1)
                np.testing.assert_allclose(rollout.step.reward[t, e], count + applied, rtol=1e-6)
                total += count + applied
                assert rollout.length[t, e] == count
                np.testing.assert_allclose(rollout.total[t, e], total, rtol=1e-5)
                over = (tag < 0.5 and count == 3, count == 4)
                assert (rollout.step.terminated[t, e], rollout.step.truncated[t, e]) == over
                if any(over):
                    count, total = 0, 0.0
            assert len(tags) > 8
            assert len(set(tags)) == len(tags)
    # Both kinds of ends are seen, and actions beyond what the environment is given.
    assert beside.step.terminated.any()
    assert beside.step.truncated.any()
    assert np.abs(beside.action).max() > 1
    assert not np.array_equal(beside.action[:, 0], beside.action[:, 1])


def test_the_parameter_changes_at_a_step(played, beside):
    expected = [VALUES[min(k // TASK, 2)] for k in range(40)]
    rollout = played["step"]
    np.testing.assert_allclose(rollout.parameter[:, 0], expected)
    # It is the parameter of that very step, in the middle of an episode.
    np.testing.assert_allclose(rollout.step.observation[:, 0, 2], expected)
    assert max(rollout.length[k, 0] for k in (TASK, 2 * TASK)) > 1
    # Steps are counted over all environments.
    expected = [VALUES[min(2 * k // TASK, 2)] for k in range(40)]
    np.testing.assert_allclose(beside.parameter, np.stack([expected] * 2, axis=1))


def test_the_parameter_changes_at_the_end_of_an_episode(played):
    rollout = played["episode"]
    starts = np.arange(40) + 1 - rollout.length[:, 0]  # of the episode in which a step lies
    expected = [VALUES[min(start // TASK, 2)] for start in starts.tolist()]
    np.testing.assert_allclose(rollout.parameter[:, 0], expected)
    assert expected[-1] == VALUES[2]
    # Some wait, and none makes the next one wait for longer.
    changes = [expected.index(value) for value in VALUES[1:]]
    assert all(0 <= change - due < 4 for change, due in zip(changes, (TASK, 2 * TASK), strict=True))
    assert changes != [TASK, 2 * TASK]
    # The first observation of an episode shows the new one.
    change = expected.index(VALUES[1])
    assert rollout.observation[change].tolist()[0][0] == 0
    np.testing.assert_allclose(rollout.observation[change, 0, 2], VALUES[1])


def test_the_parameter_drifts(played):
    """And stays at the last value after the last task."""
    values = [*VALUES, VALUES[0]]
    expected = []
    for k in range(60):
        task, done = k // TASK, (k % TASK) / TASK
        now = values[task] ** (1 - done) * values[task + 1] ** done if task < 3 else values[3]
        expected.append(now)
    np.testing.assert_allclose(played["drift"].parameter[:, 0], expected, rtol=1e-5)


def test_schedules_side_by_side(played):
    """Under vmap over schedules each member plays as it does alone."""
    values = jnp.array([[0.5, 1.5, 4.0, 0.5], [2.0, 0.1, 0.3, 0.3]])
    world = changing("step")

    def run(values):
        players = begin(world, values, 1, key=KEY)
        players, _ = ten_steps(world, values, players, jax.random.fold_in(KEY, 0))
        return ten_steps(world, values, players, jax.random.fold_in(KEY, 1))[1]

    together = jax.jit(jax.vmap(run))(values)
    for i, own in enumerate(values):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(run(own)), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5)
    np.testing.assert_array_equal(together.parameter[0, :, 0], played["step"].parameter[10:20, 0])


def test_schedules():
    drawn = LogUniform(low=0.02, high=2.0, seed=None).values(2000, key=KEY)
    assert 0.02 <= drawn.min() <= drawn.max() <= 2.0
    # Uniform in the logarithm: a seventh of the frictions lie above 1.
    np.testing.assert_allclose((drawn > 1).mean(), np.log(2) / np.log(100), atol=0.02)
    np.testing.assert_allclose(np.log(drawn).mean(), np.log(0.2), atol=0.1)
    few = LogUniform(low=0.02, high=2.0, seed=None).values(3, key=KEY)
    np.testing.assert_array_equal(few, drawn[:3])
    other = jax.random.key(9)
    assert not np.array_equal(few, LogUniform(seed=None).values(3, key=other))
    shared = LogUniform(seed=4)
    np.testing.assert_array_equal(shared.values(3, key=KEY), shared.values(3, key=other))
    assert not np.array_equal(shared.values(3, key=KEY), LogUniform(seed=5).values(3, key=KEY))
    with jax.enable_x64(True):
        exact = LogUniform(seed=4).values(3, key=KEY)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(shared.values(3, key=KEY), exact, rtol=1e-6)
    np.testing.assert_allclose(Cycle((1.0, 3.0)).values(5, key=KEY), [1, 3, 1, 3, 1])
    revisited = Revisit(shared, period=3).values(7, key=KEY)
    plain = shared.values(7, key=KEY)
    expected = [plain[0], plain[1], plain[2], plain[0], plain[4], plain[5], plain[0]]
    np.testing.assert_array_equal(revisited, expected)


@pytest.mark.parametrize("terminal", [False, True])
def test_time_limit(terminal):
    limited = TimeLimit(Counting(), 3, terminal=terminal)
    one = jnp.asarray(1.0)
    ends = {}
    for tag in (0.2, 0.9):
        state, _ = limited.reset(one, key=KEY)
        state = eqx.tree_at(lambda s: s.inner, state, jnp.array([0.0, tag]))
        seen = []
        for _ in range(3):
            state, step = limited.step(state, jnp.zeros(1), one, key=KEY)
            seen.append((bool(step.terminated), bool(step.truncated)))
        assert seen[:2] == [(False, False)] * 2
        ends[tag] = seen[2]
    # An end of its own at the limit stays an end.
    assert ends == {0.2: (True, False), 0.9: (True, False) if terminal else (False, True)}


def test_point_mass_is_what_it_says():
    mass, friction = PointMass(), jnp.asarray(2.0)
    state, shown = mass.reset(friction, key=KEY)
    np.testing.assert_array_equal(state, shown)
    x, v = np.asarray(state)
    assert -1 <= x <= 1
    assert v == 0
    for u in (0.3, -1.4):
        state, step = mass.step(state, jnp.array([u]), friction, key=KEY)
        v = v + 0.1 * (u - 2 * v)
        x = x + 0.1 * v
        np.testing.assert_allclose(step.observation, [x, v], rtol=1e-6)
        np.testing.assert_allclose(step.reward, -(x**2 + 0.1 * u**2), rtol=1e-5)
    assert not step.terminated
    assert not step.truncated


def test_bad_worlds():
    with pytest.raises(ValueError, match="`low` is 0, but must be finite and above 0"):
        LogUniform(low=0, high=1.0)
    with pytest.raises(ValueError, match="`high - low` is -1"):
        LogUniform(low=2.0, high=1.0)
    with pytest.raises(ValueError, match="`each` is -0.5"):
        Cycle((1.0, -0.5))
    with pytest.raises(ValueError, match=r"`each` is \(\), but must be a sequence of one or more"):
        Cycle(())
    with pytest.raises(ValueError, match="`period` is 1"):
        Revisit(Cycle((1.0,)), period=1)
    with pytest.raises(ValueError, match="`steps` is 0"):
        TimeLimit(PointMass(), 0)
    with pytest.raises(ValueError, match="`steps_per_task` is 0"):
        ChangingEnvironment(PointMass(), Cycle((1.0,)), 0)


def test_an_unknown_rule(monkeypatch):
    # The type checker of the tests would refuse it first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    change: Any = "steps"
    with pytest.raises(ValueError, match="Rule 'steps' does not exist.*did you mean 'step'"):
        ChangingEnvironment(PointMass(), Cycle((1.0,)), 5, change=change)
