"""Rollouts in an environment that changes, against loops in NumPy."""

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
from spectral.tasks.rl.rollouts._rollout import begin, play


VALUES = (0.5, 1.5, 4.0)
TASK = 14  # steps; rollouts of 10 do not divide it
KEY = jax.random.key(3)


def changing(change: Any) -> ChangingEnvironment:
    return ChangingEnvironment(Counting(), Cycle(VALUES), TASK, change=change)


def start(world: ChangingEnvironment, num_environments: int) -> Any:
    values = world.values(3, key=KEY)
    return values, begin(world, values, num_environments, key=KEY)


def ten_steps(world: ChangingEnvironment, values: Any, environments: Any, key: Any):
    act = lambda observations, key: jax.random.normal(key, (observations.shape[0], 1))
    return play(world, values, environments, act, 10, clip=True, key=key)


@eqx.filter_jit
def _forty_steps(world: ChangingEnvironment, num_environments: int):
    """Four rollouts in a row, joined."""
    values, environments = start(world, num_environments)
    rollout = lambda state, key: ten_steps(world, values, state, key)
    parts = jax.lax.scan(rollout, environments, jax.random.split(KEY, 4))[1]
    return jax.tree.map(lambda x: x.reshape(40, *x.shape[2:]), parts)


def forty_steps(world: ChangingEnvironment, num_environments: int = 1) -> Any:
    return jax.tree.map(np.asarray, _forty_steps(world, num_environments))


@pytest.fixture(scope="module")
def by_step():
    """Two environments, whose parameter changes at a step."""
    return forty_steps(changing("step"), num_environments=2)


@pytest.fixture(scope="module")
def by_episode():
    """One environment, whose parameter changes at the end of an episode."""
    return forty_steps(changing("episode"))


def test_episodes(by_step, by_episode):
    """The tag, which decides how an episode ends, changes with each."""
    for trajectory in (by_step, by_episode):
        for e in range(trajectory.total.shape[1]):
            before, after = trajectory.observation[:, e], trajectory.step.observation[:, e]
            count, total, tags = 0, 0.0, []
            for t in range(40):
                tag = before[t, 1]
                if count == 0:
                    tags.append(tag)
                assert before[t, 0] == count
                assert tag == tags[-1] == after[t, 1]
                count += 1
                # The observation after the last action belongs to the same episode.
                assert after[t, 0] == count
                applied = np.clip(trajectory.action[t, e, 0], -1, 1)
                reward = trajectory.step.reward[t, e]
                np.testing.assert_allclose(reward, count + applied, rtol=1e-6)
                total += count + applied
                assert trajectory.length[t, e] == count
                np.testing.assert_allclose(trajectory.total[t, e], total, rtol=1e-5)
                ends = (tag < 0.5 and count == 3, count == 4)
                step = trajectory.step
                assert (step.terminated[t, e], step.truncated[t, e]) == ends
                if any(ends):
                    count, total = 0, 0.0
            assert len(tags) > 8
            assert len(set(tags)) == len(tags)
    # Both kinds of ends occur, and actions that are clipped.
    assert by_step.step.terminated.any()
    assert by_step.step.truncated.any()
    assert np.abs(by_step.action).max() > 1
    assert not np.array_equal(by_step.action[:, 0], by_step.action[:, 1])


def test_the_parameter_changes_at_a_step(by_step):
    # Steps are counted over both environments.
    expected = [VALUES[min(2 * k // TASK, 2)] for k in range(40)]
    np.testing.assert_allclose(by_step.parameter, np.stack([expected] * 2, axis=1))
    # It is the parameter of exactly that step, in the middle of an episode.
    np.testing.assert_allclose(by_step.step.observation[:, 0, 2], expected)
    assert by_step.length[[TASK // 2, TASK]].max() > 1


def test_the_parameter_changes_at_the_end_of_an_episode(by_episode):
    trajectory = by_episode
    starts = np.arange(40) + 1 - trajectory.length[:, 0]  # of the episode of each step
    expected = [VALUES[min(start // TASK, 2)] for start in starts.tolist()]
    np.testing.assert_allclose(trajectory.parameter[:, 0], expected)
    assert expected[-1] == VALUES[2]
    # Some changes wait, and none makes the next one wait longer.
    changes = [expected.index(value) for value in VALUES[1:]]
    assert all(0 <= change - due < 4 for change, due in zip(changes, (TASK, 2 * TASK), strict=True))
    assert changes != [TASK, 2 * TASK]
    # The first observation of an episode has the new parameter.
    change = expected.index(VALUES[1])
    assert trajectory.observation[change, 0, 0] == 0
    np.testing.assert_allclose(trajectory.observation[change, 0, 2], VALUES[1])


def test_the_parameter_drifts():
    """It keeps the last value after the last task."""
    world = changing("drift")

    @jax.jit
    def sixty_steps():
        values, no = world.values(3, key=KEY), jnp.asarray(False)

        def step(phase, _):
            return world.advance(phase, no, stride=1, last=2), world.parameter(values, phase)

        return jax.lax.scan(step, world.begin(), length=60)[1]

    values = [*VALUES, VALUES[0]]
    expected = []
    for k in range(60):
        task, done = k // TASK, (k % TASK) / TASK
        now = values[task] ** (1 - done) * values[task + 1] ** done if task < 3 else values[3]
        expected.append(now)
    np.testing.assert_allclose(sixty_steps(), expected, rtol=1e-5)


@pytest.mark.slow
def test_schedules_under_vmap():
    """Each schedule gives what it gives alone."""
    world = changing("step")
    environments = eqx.filter_jit(start)(world, 1)[1]
    values = jnp.array([[0.5, 1.5, 4.0, 0.5], [2.0, 0.1, 0.3, 0.3]])

    def run(values):
        now, _ = ten_steps(world, values, environments, jax.random.key(0))
        return ten_steps(world, values, now, jax.random.key(1))[1]

    together = jax.jit(jax.vmap(run))(values)
    for i, own in enumerate(values):
        alone = jax.jit(run)(own)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5)
    expected = [0.5 if k < TASK else 1.5 for k in range(10, 20)]
    np.testing.assert_array_equal(together.parameter[0, :, 0], expected)


def test_schedules():
    other = jax.random.key(9)
    free, fixed = LogUniform(low=0.02, high=2.0, seed=None), LogUniform(seed=4)

    @jax.jit
    def draw():
        return {
            "many": free.values(2000, key=KEY),
            "few": free.values(3, key=KEY),
            "other": free.values(3, key=other),
            "fixed": fixed.values(7, key=other),
            "seed_5": LogUniform(seed=5).values(3, key=KEY),
            "cycle": Cycle((1.0, 3.0)).values(5, key=KEY),
            "revisit": Revisit(fixed, period=3).values(7, key=KEY),
            "every_second": Revisit(fixed).values(4, key=KEY),
        }

    drawn = jax.tree.map(np.asarray, draw())
    many, plain = drawn["many"], drawn["fixed"]
    assert 0.02 <= many.min() <= many.max() <= 2.0
    # Uniform in the logarithm: a fraction of 0.15 lies above 1.
    np.testing.assert_allclose((many > 1).mean(), np.log(2) / np.log(100), atol=0.02)
    np.testing.assert_allclose(np.log(many).mean(), np.log(0.2), atol=0.1)
    np.testing.assert_array_equal(drawn["few"], many[:3])
    assert not np.array_equal(drawn["few"], drawn["other"])
    # With a seed the values depend on it and not on the key.
    assert not np.array_equal(plain[:3], drawn["seed_5"])
    np.testing.assert_allclose(drawn["cycle"], [1, 3, 1, 3, 1])
    expected = [plain[0], plain[1], plain[2], plain[0], plain[4], plain[5], plain[0]]
    np.testing.assert_array_equal(drawn["revisit"], expected)
    np.testing.assert_array_equal(drawn["every_second"], [*plain[:2], plain[0], plain[3]])
    with jax.enable_x64(True):
        exact = jax.jit(lambda: LogUniform(seed=4).values(3, key=KEY))()
    assert exact.dtype == np.float64
    np.testing.assert_allclose(plain[:3], exact, rtol=1e-6)


@pytest.mark.parametrize("terminal", [False, True])
def test_time_limit(terminal):
    limited = TimeLimit(Counting(), 3, terminal=terminal)
    one = jnp.asarray(1.0)

    @jax.jit
    def three_steps(tag):
        state, _ = limited.reset(one, key=KEY)
        state = eqx.tree_at(lambda s: s.inner, state, jnp.stack([0 * tag, tag]))
        move = lambda state, action: limited.step(state, action, one, key=KEY)
        steps = jax.lax.scan(move, state, jnp.zeros((3, 1)))[1]
        return steps.terminated, steps.truncated

    ends = {}
    for tag in (0.2, 0.9):
        steps = list(zip(*(x.tolist() for x in three_steps(tag)), strict=True))
        assert steps[:2] == [(False, False)] * 2
        ends[tag] = steps[2]
    # An episode that ends at the limit without it still terminates.
    assert ends == {0.2: (True, False), 0.9: (True, False) if terminal else (False, True)}


def test_point_mass_follows_its_formula():
    mass, friction = PointMass(), jnp.asarray(2.0)

    @jax.jit
    def two_steps(actions):
        first = mass.reset(friction, key=KEY)
        move = lambda state, action: mass.step(state, action, friction, key=KEY)
        return *first, jax.lax.scan(move, first[0], actions)[1]

    state, observation, steps = two_steps(np.array([[0.3], [-1.4]], np.float32))
    np.testing.assert_array_equal(state, observation)
    x, v = np.asarray(state)
    assert -1 <= x <= 1
    assert v == 0
    for t, u in enumerate((0.3, -1.4)):
        v = v + 0.1 * (u - 2 * v)
        x = x + 0.1 * v
        np.testing.assert_allclose(steps.observation[t], [x, v], rtol=1e-6)
        np.testing.assert_allclose(steps.reward[t], -(x**2 + 0.1 * u**2), rtol=1e-5)
    assert not steps.terminated.any()
    assert not steps.truncated.any()


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


def test_unknown_change(monkeypatch):
    # Without this the type checker rejects the change first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    change: Any = "steps"
    with pytest.raises(ValueError, match="Rule 'steps' does not exist.*did you mean 'step'"):
        ChangingEnvironment(PointMass(), Cycle((1.0,)), 5, change=change)
