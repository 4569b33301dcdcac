"""The rollouts of PPO, its batches, statistics and evaluation, against loops in NumPy."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from counting import counting_ppo, Tabular

from spectral import algorithms, Clock, Learner, models, tasks
from spectral.probes import Sampler
from spectral.tasks.rl.ppo import _ppo
from spectral.tasks.rl.ppo._running_moments import Moments
from spectral.tasks.rl.rollouts._episode_metrics import dead_fraction
from spectral.tasks.rl.rollouts._rollout import begin, play


KEY = jax.random.key(3)
CLOCK = Clock(*map(jnp.asarray, (0, 0, 0, 0)))
LEARNER = Learner(Tabular(), None, algorithms.bp().optimiser)
STEPS = 16


class Collected(NamedTuple):
    """Two rollouts: the first trajectory, the state after it, and all about the second one."""

    stream: tasks.PPO
    first: Any
    before: Any
    trajectory: Any
    after: Any
    items: Any
    metrics: Any


@eqx.filter_jit
def _collect(stream: tasks.PPO):
    def rollout(state, key):
        trajectories = []

        def recorded(*args, **kwargs):
            environments, trajectory = play(*args, **kwargs)
            trajectories.append(trajectory)
            return environments, trajectory

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_ppo, "play", recorded)
            after, chunk, metrics = stream.collect(state, LEARNER, CLOCK, key=key)
        return after, (state, *trajectories, after, chunk.items, metrics)

    keys = jax.random.split(jax.random.key(4))
    parts = jax.lax.scan(rollout, stream.init(key=KEY), keys)[1]
    first, second = (jax.tree.map(lambda x, i=i: x[i], parts) for i in range(2))
    return first[1], *second


@pytest.fixture(scope="module")
def collected() -> Collected:
    stream = counting_ppo(num_environments=2, normalise_observations=True, scale_rewards=True)
    return Collected(stream, *jax.tree.map(np.asarray, _collect(stream)))


def by_hand(trajectory: Any, rewards: np.ndarray, show: Any = lambda o: o) -> dict[str, np.ndarray]:
    """The expected batch, in the order of the steps: `[steps, environments]`."""
    model = jax.tree.map(np.asarray, LEARNER.model)
    o, following = show(trajectory.observation), show(trajectory.step.observation)
    value, later = o @ model.value, following @ model.value
    mean = o @ model.mean.T
    log_p = scipy.stats.norm.logpdf(trajectory.action, mean, np.exp(-0.5))[..., 0]
    advantage = np.zeros_like(value)
    for e in range(value.shape[1]):
        total = 0.0
        for t in reversed(range(value.shape[0])):
            terminated = trajectory.step.terminated[t, e]
            truncated = trajectory.step.truncated[t, e]
            delta = rewards[t, e] + 0.9 * (0 if terminated else later[t, e]) - value[t, e]
            total = delta + (0 if terminated or truncated else 0.9 * 0.8 * total)
            advantage[t, e] = total
    target = advantage + value
    return {"log_probability": log_p, "value": value, "advantage": advantage, "target": target}


def assert_same_steps(items: Any, expected: dict[str, np.ndarray]) -> None:
    """Every epoch visits every step once."""
    names = list(expected)
    rows = np.stack([expected[n].reshape(-1) for n in names], axis=1)
    for epoch in range(2):
        got = [getattr(items, n).reshape(2, -1)[epoch] for n in names]
        got = np.stack(got, axis=1)
        order, wanted = np.argsort(got[:, 0]), np.argsort(rows[:, 0])
        np.testing.assert_allclose(got[order], rows[wanted], rtol=2e-4, atol=2e-4)


def test_generalised_advantages(collected):
    both = collected.trajectory.step
    assert both.terminated.any()
    assert both.truncated.any()
    expected = by_hand(collected.trajectory, both.reward)
    values = expected["value"], both.observation @ np.asarray(Tabular().value)
    estimate = functools.partial(tasks.generalised_advantages, discount=0.9, gae_lambda=0.8)
    advantages = jax.jit(estimate)(both.reward, *values, both.terminated, both.truncated)
    np.testing.assert_allclose(advantages, expected["advantage"], rtol=1e-4, atol=1e-4)


def test_minibatches_contain_the_steps_of_the_rollout(collected):
    """The statistics that normalise them are those before the rollout."""
    before, trajectory = collected.before, collected.trajectory
    rewards = trajectory.step.reward / np.sqrt(before.return_moments.variance + 1e-8)
    moments = before.observation_moments
    show = lambda o: (o - moments.mean) / np.sqrt(moments.variance + 1e-8)
    expected = by_hand(trajectory, rewards, show)
    centred = expected["advantage"] - expected["advantage"].mean()
    expected["advantage"] = centred / centred.std(ddof=1)
    assert collected.items.observation.shape == (8, 4, 3)
    assert_same_steps(collected.items, expected)
    first, second = collected.items.log_probability.reshape(2, -1)
    assert not np.array_equal(first, second)


def test_statistics_after_two_rollouts(collected):
    """They are those of the observations before each action, and of discounted rewards."""
    trajectories = [collected.first, collected.trajectory]
    observations = np.concatenate([t.observation.reshape(-1, 3) for t in trajectories])
    moments = collected.after.observation_moments
    np.testing.assert_allclose(moments.mean, observations.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, observations.var(axis=0), rtol=1e-4)
    totals = []
    for e in range(2):
        total = 0.0
        for t in trajectories:
            ends = t.step.terminated | t.step.truncated
            for reward, ended in zip(t.step.reward[:, e], ends[:, e], strict=True):
                total = 0.9 * total + float(reward)
                totals.append(total)
                total = 0.0 if ended else total
    returned = collected.after.return_moments
    np.testing.assert_allclose(returned.variance, np.var(totals), rtol=1e-4)
    assert moments.count == returned.count == 2 * STEPS


def test_episode_metrics(collected):
    trajectory, metrics = collected.trajectory, collected.metrics
    ended = trajectory.step.terminated | trajectory.step.truncated
    assert metrics["num_episodes"] == ended.sum() > 2
    mean = lambda x: x[ended].mean()
    np.testing.assert_allclose(metrics["episode_return"], mean(trajectory.total), rtol=1e-5)
    np.testing.assert_allclose(metrics["episode_length"], mean(trajectory.length))
    np.testing.assert_allclose(metrics["reward"], trajectory.step.reward.mean(), rtol=1e-5)
    assert metrics["parameter"] == trajectory.parameter[-1, 0]


def test_dead_fraction():
    model = eqx.filter_eval_shape(models.ActorCritic, 3, 1, width=4, depth=1, key=KEY)
    taps = {name: np.ones((5, 4), np.float32) for name in ("actor_hidden_0", "critic_hidden_0")}
    taps["actor_hidden_0"][:, 1:] = 0
    taps["actor_hidden_0"][2, 3] = 0.5
    taps["critic_hidden_0"][:, 0] = 0
    found = jax.jit(lambda taps: dead_fraction(model, taps))(taps)
    np.testing.assert_allclose(found, 3 / 8)
    np.testing.assert_array_equal(dead_fraction(Tabular(), {}), 0)


class NeverDead(eqx.Module):
    """The last of two layers cannot be dead, or neither can."""

    first: str = eqx.field(static=True)

    def units(self):
        draw = lambda key, shape: jnp.zeros(shape)
        group = lambda name, why: models.UnitGroup(name, 4, (), (), (), draw, never_dead=why)
        return group("first", self.first), group("last", "its units are never 0")


def test_units_that_cannot_be_dead_do_not_count():
    first = np.ones((5, 4), np.float32)
    first[:, 1] = 0
    taps = {"first": jnp.asarray(first), "last": jnp.asarray(first)}
    np.testing.assert_allclose(dead_fraction(NeverDead(""), taps), 1 / 4)
    assert np.isnan(dead_fraction(NeverDead("as the last"), taps))


def test_advantages_are_normalised_within_a_minibatch(collected):
    stream = counting_ppo(advantages="minibatch")
    item = jax.tree.map(lambda x: jnp.asarray(x[1]), collected.items)
    advantage = eqx.filter_jit(stream.batch)(collected.before, item).advantage
    np.testing.assert_allclose(np.mean(advantage), 0, atol=1e-6)
    np.testing.assert_allclose(np.std(advantage, ddof=1), 1, rtol=1e-5)
    same = counting_ppo().batch(collected.before, item).advantage
    np.testing.assert_array_equal(same, item.advantage)


def test_evaluation_and_samples_have_the_parameter_of_the_task():
    stream = counting_ppo(advantages="never", num_evaluation_environments=3, evaluation_steps=6)

    @eqx.filter_jit
    def look(task):
        state = eqx.tree_at(lambda s: s.task, stream.init(key=KEY), task)
        begin_key, play_key = jax.random.split(KEY)
        values = jnp.full(4, state.values[task])
        environments = begin(stream.world, values, 3, key=begin_key)
        act = stream.actor(state, LEARNER, greedy=True)
        _, trajectory = play(stream.world, values, environments, act, 6, key=play_key)
        risk = Sampler(LEARNER, stream, state, 30, "train", KEY).risk(key=KEY)
        outputs = risk.forward(LEARNER.model, risk.inputs)
        ratio = stream.surrogate.ratio(outputs, risk.targets)
        losses = risk(LEARNER.model), stream.criterion(outputs, risk.targets)[0]
        assert risk.loss is stream.surrogate
        return risk.inputs, trajectory, stream.evaluate(state, LEARNER, key=KEY), ratio, losses

    for task, parameter in enumerate((0.5, 1.5)):
        found = jax.tree.map(np.asarray, look(jnp.asarray(task)))
        batch, trajectory, row, ratio, losses = found
        np.testing.assert_allclose(batch.observation[:, 2], parameter)
        # The advantages are not normalised.
        np.testing.assert_allclose(batch.advantage + batch.value, batch.target, atol=1e-5)
        np.testing.assert_allclose(trajectory.parameter, parameter)
        mean = trajectory.observation @ np.asarray(Tabular().mean).T
        np.testing.assert_allclose(trajectory.action, mean, rtol=1e-5, atol=1e-6)
        ended = trajectory.step.terminated | trajectory.step.truncated
        # Only the first episode of each environment counts.
        ends = [np.flatnonzero(ended[:, e])[0] for e in range(3)]
        totals = [float(trajectory.total[t, e]) for e, t in enumerate(ends)]
        np.testing.assert_allclose(row["evaluation_return"], np.mean(totals), rtol=1e-5)
        np.testing.assert_allclose(row["evaluation_length"], np.mean(ends) + 1)
        assert batch.observation.shape == (30, 3)
        assert len(np.unique(batch.observation[:, 1])) > 6
        # The policy itself played the sample, so that all ratios are 1. Probes take its loss.
        np.testing.assert_allclose(ratio, 1, rtol=1e-5)
        np.testing.assert_allclose(*losses, rtol=1e-5)


def test_moments_clip_to_ten_after_the_first_row():
    @jax.jit
    def look(far, rows, three):
        empty = Moments.empty(())
        some = empty.including(rows)
        unchanged = empty.scale(far), empty.standardise(far)
        return unchanged, (some.scale(far), some.standardise(far)), some.standardise(three)

    far, rows, three = (np.array(x, np.float32) for x in ([100, -100], [1, 3], [3]))
    unchanged, clipped, standardised = look(far, rows, three)
    np.testing.assert_allclose(unchanged, [far] * 2, rtol=1e-6)
    np.testing.assert_array_equal(clipped, [[10, -10]] * 2)
    np.testing.assert_allclose(standardised, [1.0], rtol=1e-5)
