"""Runs of DQN: its updates against NumPy, the pauses of learning, evaluation, and probes."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from switching import switching_dqn, value_network

from spectral import algorithms, Clock, models, probes, tasks, train_continual
from spectral._core import _train_chunk, begin_task, start_run
from spectral._keys import derive, Role
from spectral.curvature import GaussNewton, KFAC
from spectral.probes import Sampler


KEY = jax.random.key(3)
ZERO = jnp.asarray(0)


class Chunks(NamedTuple):
    """What a run collected and made of it, `[chunks, ...]`."""

    rows: Any  # the transitions of the minibatches
    learns: Any
    weights: Any  # after the chunk
    target: Any  # during the chunk


def weights_of(model: Any) -> list[Any]:
    return [x for layer in model.layers for x in (layer.weight, layer.bias)]


def chunks_of(stream: tasks.DQN, model: Any, algo: Any, count: int) -> Chunks:
    """Train the first chunks of the first task with the loop's own code."""

    @jax.jit
    def whole():
        run = begin_task(start_run(model, None, stream, algo, KEY), stream, algo, ZERO, KEY)
        arrays, static = eqx.partition(run, eqx.is_array)

        def one(arrays, index):
            run = eqx.combine(arrays, static)
            clock = Clock(index * stream.minibatches, ZERO, index, ZERO)
            key = derive(KEY, Role.COLLECT, ZERO, index)
            state, chunk, _ = stream.collect(run.stream, run.learner, clock, key=key)
            rows = jax.vmap(lambda item: item.of_replay(state.replay.transitions))(chunk.items)
            after, _ = _train_chunk(run, stream, algo, ZERO, index, key=KEY)
            target = after.stream.target_network().model
            found = Chunks(
                rows,
                jnp.asarray(chunk.in_use) > 0,
                weights_of(after.learner.model),
                weights_of(target),
            )
            return eqx.filter(after, eqx.is_array), found

        return jax.lax.scan(one, arrays, jnp.arange(count))[1]

    return jax.tree.map(np.asarray, whole())


def forward(weights, x):
    hidden = np.maximum(x @ weights[0].T + weights[1], 0)
    return hidden, hidden @ weights[2].T + weights[3]


def gradient(weights, x, action, target, huber):
    hidden, values = forward(weights, x)
    rows = np.arange(len(x))
    error = values[rows, action] - target
    slope = np.clip(error, -huber, huber) if huber else 2 * error
    up = np.zeros_like(values)
    up[rows, action] = slope / len(x)
    back = (up @ weights[2]) * (hidden > 0)
    return [back.T @ x, back.sum(0), up.T @ hidden, up.sum(0)]


def rerun(found: Chunks, model, *, double, huber, period, fraction, lr=0.02, momentum=0.9):
    """The weights after each chunk, and the target network in it."""
    online = [np.asarray(w) for w in weights_of(model)]
    target, velocity = [w.copy() for w in online], [np.zeros_like(w) for w in online]
    afters, targets, step = [], [], 0
    for c, learns in enumerate(found.learns):
        count = found.rows.action.shape[1]
        if fraction:
            kept = (1 - fraction) ** count
            target = [kept * t + (1 - kept) * w for t, w in zip(target, online, strict=True)]
        elif step % period == 0:
            target = [w.copy() for w in online]
        chooser = [w.copy() for w in online] if double else target
        targets.append(target)
        for m in range(count):
            row = jax.tree.map(lambda x, c=c, m=m: x[c, m], found.rows)
            following = row.following.astype(online[0].dtype)
            best = forward(chooser, following)[1].argmax(axis=1)
            later = forward(target, following)[1][np.arange(len(best)), best]
            aim = row.reward + row.discount * later
            if learns:
                seen = row.observation.astype(online[0].dtype)
                grads = gradient(online, seen, row.action, aim, huber)
                velocity = [momentum * v + g for v, g in zip(velocity, grads, strict=True)]
                online = [w - lr * v for w, v in zip(online, velocity, strict=True)]
            step += 1
        afters.append(online)
    return afters, targets


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"replay_ratio": 0.125},
    "several_steps_a_chunk": {},
    "double": {"replay_ratio": 0.125, "double": True},
    "double_several_steps": {"double": True, "steps_per_return": 1},
    "huber": {"error": tasks.HuberValueError(threshold=0.5), "steps_per_return": 3},
    # A quarter is exact in every precision.
    "polyak": {"replay_ratio": 0.125, "target_update": tasks.PolyakTarget(fraction=0.25)},
    "polyak_several_steps": {"target_update": tasks.PolyakTarget(fraction=0.25)},
}


class Scaled(tasks.AbstractEnvironment):
    """The environment of the tests, with observations between 0 and 1."""

    inner: tasks.AbstractEnvironment
    observation_size: int = eqx.field(static=True, default=2)
    action_size: int = eqx.field(static=True, default=2)
    discrete: bool = eqx.field(static=True, default=True)

    def reset(self, parameter, *, key):
        state, seen = self.inner.reset(parameter, key=key)
        return state, seen / jnp.asarray([4.0, 200.0])

    def step(self, state, action, parameter, *, key):
        state, step = self.inner.step(state, action, parameter, key=key)
        ends = step.terminated, step.truncated
        return state, tasks.Step(step.observation / jnp.asarray([4.0, 200.0]), step.reward, *ends)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", OPTIONS)
def test_updates_match_numpy(name):
    """The same weights, minibatches and targets to the last digits, over the pause before learning
    starts and over several updates of the target network."""
    options = {"learning_starts": 12} | OPTIONS[name]
    plain = switching_dqn(**options)
    scaled: Any = Scaled(inner=plain.world.environment)
    stream = eqx.tree_at(lambda s: s.world.environment, plain, scaled)
    model = value_network(key=KEY)
    algo = algorithms.bp(algorithms.sgd(0.02, momentum=0.9))
    found = chunks_of(stream, model, algo, 100 // stream.minibatches)
    assert not found.learns[0]
    assert found.learns[2:].all()
    huber = 0.5 if "error" in options else None
    fraction = 0.25 if "target_update" in options else None
    rule = {"double": stream.double, "huber": huber, "period": 8, "fraction": fraction}
    afters, targets = rerun(found, model, **rule)
    for i, (after, target) in enumerate(zip(afters, targets, strict=True)):
        for j in range(4):
            for got, right in ((found.weights[j][i], after[j]), (found.target[j][i], target[j])):
                np.testing.assert_allclose(got, right, rtol=1e-12, atol=1e-13)
    moved = np.abs(found.weights[0][-1] - np.asarray(weights_of(model)[0])).max()
    assert moved > 1e-3


class StayOrLeave(tasks.AbstractEnvironment):
    """Action 0 has a reward of 1, action 1 one of 2 and ends the episode."""

    observation_size: int = eqx.field(static=True, default=1)
    action_size: int = eqx.field(static=True, default=2)
    discrete: bool = eqx.field(static=True, default=True)

    def reset(self, parameter, *, key):
        return jnp.zeros(()), jnp.ones(1)

    def step(self, state, action, parameter, *, key):
        return state, tasks.Step(jnp.ones(1), 1.0 + action, action == 1, False)


@pytest.mark.slow
def test_values_become_those_of_the_best_policy():
    """With a discount of 0.8 staying is worth 1 / (1 - 0.8) = 5, although a time limit cuts each
    episode off after 3 steps, and leaving is worth 2. If the limit terminated episodes, staying
    would be worth less, and if leaving did not, it would be worth more. The chunks are the default
    ones."""
    limited = tasks.TimeLimit(StayOrLeave(), 3)
    world = tasks.ChangingEnvironment(limited, tasks.Cycle((1.0,)), 4000)
    options: dict[str, Any] = {"capacity": 500, "learning_starts": 32, "discount": 0.8}
    target, explore = tasks.PeriodicTarget(period=20), tasks.LinearEpsilon(last=0.3, steps=1000)
    stream = tasks.DQN(
        world,
        num_tasks=1,
        target_update=target,
        exploration=explore,
        num_evaluation_environments=2,
        evaluation_steps=5,
        **options,
    )
    algo = algorithms.bp(algorithms.adam(1e-2))
    model = models.MLP(1, 2, width=4, depth=1, key=KEY)
    learner, history = train_continual(model, stream, algo, key=KEY)
    np.testing.assert_allclose(learner.model(jnp.ones(1))[0], [5.0, 2.0], rtol=0.03)
    assert history["evaluation_length"][0] == 3
    assert history["evaluation_return"][0] == 3


@pytest.fixture(scope="module")
def paused():
    """Three tasks of four chunks. Each begins with an empty replay and learns with 12
    transitions. The learner stays as it is, and always prefers action 1."""
    stream = switching_dqn(
        learning_starts=12,
        kept_fraction=0.0,
        exploration=tasks.LinearEpsilon(first=1.0, last=0.0, steps=16, restarts=True),
    )
    model = value_network(key=KEY)
    head = lambda m: (m.layers[-1].weight, m.layers[-1].bias)
    model = eqx.tree_at(head, model, (jnp.zeros((2, 4)), jnp.array([0.5, 1.0])))
    measured = {"values": probes.Overestimation(num_environments=3, num_steps=12)}
    return train_continual(model, stream, algorithms.bp(1e-12), key=KEY, probes=measured)[1]


@pytest.mark.slow
def test_learning_pauses_until_the_replay_is_filled(paused):
    """2 of 8 steps wait in the first chunk of a task."""
    np.testing.assert_array_equal(paused["num_replayed"], [[6, 14, 22, 24]] * 3)
    for name in ("loss", "value", "target"):
        np.testing.assert_array_equal(np.isnan(paused[name]), [[True, False, False, False]] * 3)
    np.testing.assert_allclose(paused["value"][:, 1:], 1.0, rtol=1e-5)
    np.testing.assert_allclose(paused["epsilon"], [[1.0, 0.5, 0.0, 0.0]] * 3)


@pytest.mark.slow
def test_evaluation_and_values_are_without_exploration(paused):
    """An episode of 3 or 4 steps has the return 0.9 or 1.0 for a parameter of 1/2, if the action is
    1 at each step. The value 1 estimates what follows after a truncated step."""
    length = paused["evaluation_length"]
    for task, parameter in enumerate((0.5, 1.5, 0.5)):
        right = parameter * length[task] - 0.1 * (length[task] ** 2 + length[task]) / 2
        # The lengths of two episodes are averaged; the variance of 3 and 4 is 1/4.
        off = paused["evaluation_return"][task] - right
        assert min(abs(off), abs(off + 0.0125)) < 1e-5
    value, following = paused["values.end.value"], paused["values.end.following"]
    np.testing.assert_allclose(value, 1.0, rtol=1e-5)
    np.testing.assert_allclose(paused["values.end.overestimation"], value - following, atol=1e-6)
    weight = paused["values.end.bootstrapped"]
    assert ((weight > 0) & (weight < 1)).all()
    # Rewards are at most 1.4, and what is cut off counts 1.
    assert (following < 1.4 * 4 + 1).all()


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_probes_and_curvature_on_replayed_and_new_transitions():
    """Before the first step there are no replayed transitions, and new ones stand for them."""
    stream = switching_dqn(error=tasks.HuberValueError(threshold=30.0), capacity=64)
    model, algo = value_network(key=KEY), algorithms.bp(1e-12)
    everything: dict[str, Any] = {
        "dead": probes.DeadUnits(num_examples=8),
        "dormant": probes.DormantUnits(num_examples=8, split="held_out"),
        "rank": probes.FeatureRank(num_examples=8, split="held_out"),
        "gradient": probes.GradientNorm(num_examples=8),
    }

    @jax.jit
    def looked():
        run = begin_task(start_run(model, None, stream, algo, KEY), stream, algo, ZERO, KEY)
        before = stream.sample(run.stream, run.learner, 6, "train", key=KEY)
        new = stream.sample(run.stream, run.learner, 6, "held_out", key=KEY)
        run, _ = _train_chunk(run, stream, algo, ZERO, ZERO, key=KEY)
        state, learner = run.stream, run.learner
        replayed = stream.sample(state, learner, 6, "train", key=KEY)
        rows = {name: p(learner, stream, state, key=KEY) for name, p in everything.items()}
        sampler = Sampler(learner, stream, state, 6, "train", KEY)
        risk = sampler.risk(key=KEY)
        matrix = GaussNewton(risk, learner.model)
        network = lambda p: stream.forward(p, None, replayed, key=KEY, inference=True)[0]
        params = eqx.filter(learner.model, eqx.is_inexact_array)
        taken = lambda p: jnp.take_along_axis(network(eqx.combine(p, learner.model)), at, axis=1)
        at = replayed.action[:, None]
        jacobian = jax.tree.leaves(jax.jacobian(taken)(params))
        flat = jnp.concatenate([j.reshape(6, -1) for j in jacobian], axis=1)
        near = jnp.abs(taken(params)[:, 0] - replayed.target) <= 30.0
        expected = (flat * near[:, None]).T @ flat / 6
        kfac = KFAC(risk, learner.model).dense()
        kept = state.replay.transitions
        return before, new, replayed, rows, matrix.dense(), expected, kfac, kept

    before, new, replayed, rows, matrix, expected, kfac, kept = jax.tree.map(np.asarray, looked())
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(new), strict=True):
        np.testing.assert_array_equal(a, b)
    stored = {tuple(row) for row in kept.observation[:6].astype(float)}
    assert {tuple(row) for row in replayed.observation} <= stored
    assert all(np.isfinite(x).all() for row in rows.values() for x in row.values())
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-9)
    # The factors have the trace of the matrix only if the layers' activations are uncorrelated with
    # the errors; the last bias has no activation, so that its block is exact.
    np.testing.assert_allclose(kfac[-2:, -2:], expected[-2:, -2:], rtol=1e-6)
