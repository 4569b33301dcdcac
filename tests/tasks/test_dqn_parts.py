"""The parts of DQN: targets, errors of values and their curvature, exploration, target networks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import Clock, models
from spectral.tasks import (
    DQNBatch,
    HuberValueError,
    LinearEpsilon,
    PeriodicTarget,
    PolyakTarget,
    SquaredValueError,
)
from spectral.tasks.rl.dqn._dqn_batch import with_targets
from spectral.tasks.rl.dqn._greedy_values import returns_from
from spectral.tasks.rl.dqn._transition import Transition
from spectral.tasks.rl.dqn._value_network import EpsilonGreedy, ValueNetwork


KEY = jax.random.key(3)
ERRORS = {"squared": SquaredValueError(), "huber": HuberValueError(threshold=0.7)}


class Table(models.AbstractNetwork):
    """Values that are linear in the observation."""

    weight: jax.Array

    def __call__(self, x):
        return self.weight @ x, {}

    def units(self):
        return ()

    def fresh(self, *, key):
        return self


def table(seed: int, actions: int = 3) -> ValueNetwork:
    weight = np.random.default_rng(seed).normal(size=(actions, 2))
    return ValueNetwork(Table(jnp.asarray(weight, float)), None)


def weights(network: ValueNetwork) -> np.ndarray:
    return np.asarray(network.model.weight)


def clock(step: int, chunk: int = 0, task: int = 0) -> Clock:
    return Clock(*map(jnp.asarray, (step, 0, chunk, task)))


@pytest.mark.parametrize("double", [False, True])
def test_targets(double):
    rng = np.random.default_rng(1)
    seen, following = rng.integers(0, 256, (2, 20, 2)).astype(np.uint8)
    reward, discount = rng.normal(size=20), 0.9 * (rng.random(20) < 0.7)
    rows = map(jnp.asarray, (seen, rng.integers(0, 3, 20), reward, discount, following))
    batch = with_targets(Transition(*rows), table(0), table(1) if double else None, 3)
    values = following.astype(float) @ weights(table(0)).T
    chosen = following.astype(float) @ weights(table(1)).T if double else values
    later = values[np.arange(20), chosen.argmax(axis=1)]
    assert double == bool((chosen.argmax(axis=1) != values.argmax(axis=1)).any())
    np.testing.assert_allclose(batch.target, reward + discount * later, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(batch.observation, seen.astype(float))


def examples() -> tuple[Any, DQNBatch]:
    rng = np.random.default_rng(2)
    outputs, action = rng.normal(size=(8, 3)), rng.integers(0, 3, 8)
    difference = np.array([0.1, -0.2, 0.69, -0.69, 0.71, -0.71, 5.0, -5.0])
    target = outputs[np.arange(8), action] - difference
    batch = DQNBatch(jnp.zeros((8, 2)), jnp.asarray(action), jnp.asarray(target, float))
    return jnp.asarray(outputs, float), batch


def test_the_loss_is_that_of_the_action_that_was_taken():
    outputs, batch = examples()
    difference = np.asarray(outputs)[np.arange(8), np.asarray(batch.action)] - batch.target
    near = np.abs(difference) <= 0.7
    huber = np.where(near, difference**2 / 2, 0.7 * (np.abs(difference) - 0.35))
    np.testing.assert_allclose(ERRORS["squared"].losses(outputs, batch), difference**2, rtol=1e-6)
    np.testing.assert_allclose(ERRORS["huber"].losses(outputs, batch), huber, rtol=1e-5)
    metrics = ERRORS["huber"].metrics(outputs, batch)
    np.testing.assert_allclose(metrics["value"], np.max(outputs, axis=1).mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["target"], np.mean(batch.target), rtol=1e-5)


@pytest.mark.parametrize("name", ERRORS)
def test_the_curvature_in_the_outputs(name):
    """Products and root against automatic differentiation: one entry for each example, which is 0
    beyond the threshold of the Huber loss. No derivative passes through the target."""
    error = ERRORS[name]
    outputs, batch = examples()

    @jax.jit
    def found(outputs, batch):
        one = lambda z, b: error.losses(z[None], jax.tree.map(lambda x: x[None], b))[0]
        right = jax.vmap(jax.hessian(one))(outputs, batch)
        product = lambda t: error.hessian_product(outputs, batch, t)
        columns = [product(jnp.zeros((8, 3)).at[:, i].set(1)) for i in range(3)]
        root = error.hessian_root(outputs, batch)
        keys = jax.random.split(KEY, 4000)
        draws = jax.vmap(lambda k: error.sampled_gradient(outputs, batch, key=k))(keys)
        return right, jnp.stack(columns, axis=2), jnp.einsum("cea,ceb->eab", root, root), draws

    right, products, squared, draws = map(np.asarray, found(outputs, batch))
    np.testing.assert_allclose(products, right, atol=1e-6)
    np.testing.assert_allclose(squared, right, atol=1e-6)
    sizes = right.sum(axis=(1, 2))
    expected = [2.0] * 8 if name == "squared" else [1.0] * 4 + [0.0] * 4
    np.testing.assert_allclose(sizes, expected, rtol=1e-6)
    fisher = np.einsum("kea,keb->eab", draws, draws) / len(draws)
    np.testing.assert_allclose(fisher, right, atol=0.15)
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.1)


def test_exploration_falls_linearly_and_may_begin_again():
    """Tasks have 5 chunks of 4 environment steps."""
    schedule = lambda restarts, chunk, task: LinearEpsilon(
        first=0.9, last=0.1, steps=32, restarts=restarts
    )(clock(0, chunk, task), 5, 4)
    run = [float(schedule(False, c, t)) for t in range(2) for c in range(5)]
    right = [0.9 - 0.8 * min(i * 4 / 32, 1) for i in range(10)]
    np.testing.assert_allclose(run, right, rtol=1e-5)
    task = [float(schedule(True, c, t)) for t in range(2) for c in range(5)]
    np.testing.assert_allclose(task, right[:5] * 2, rtol=1e-5)


def test_the_best_action_is_taken_except_for_a_part():
    network, seen = table(4), jnp.asarray(np.random.default_rng(0).normal(size=(4000, 2)), float)
    best = np.asarray(seen @ network.model.weight.T).argmax(axis=1)
    act = lambda epsilon: EpsilonGreedy(network, jnp.asarray(epsilon), 3)(seen, KEY)
    np.testing.assert_array_equal(act(0.0), best)
    other = np.asarray(act(0.3)) != best
    assert abs(other.mean() - 0.3 * 2 / 3) < 0.02
    random = np.bincount(np.asarray(act(1.0)), minlength=3) / 4000
    np.testing.assert_allclose(random, 1 / 3, atol=0.03)


def test_target_networks_follow_the_learner():
    """A copy each period of gradient steps; or, in a chunk of m steps, as far as m small moves."""
    old, new = table(0), table(1)
    rule = PeriodicTarget(period=6)
    for step, copied in ((0, True), (2, False), (6, True), (8, False)):
        found = rule(old, new, jnp.asarray(step), 2)
        np.testing.assert_array_equal(weights(found), weights(new if copied else old))
    for num_steps in (1, 3):
        found = PolyakTarget(fraction=0.1)(old, new, jnp.asarray(5), num_steps)
        right = weights(new) + 0.9**num_steps * (weights(old) - weights(new))
        np.testing.assert_allclose(weights(found), right, rtol=1e-5)
    # A learner in bfloat16, of which a target network in bfloat16 would never come near.
    half = lambda v: eqx.tree_at(lambda v: v.model.weight, v, v.model.weight.astype(jnp.bfloat16))
    rule, learner = PolyakTarget(fraction=0.005), half(new)
    step = lambda _, target: rule(target, learner, jnp.asarray(0), 1)
    found = jax.jit(lambda: jax.lax.fori_loop(0, 2000, step, rule.begun(half(old))))()
    np.testing.assert_allclose(weights(found), weights(half(new)).astype(float), atol=1e-3)
    # Other arrays than those of floating-point numbers are copied.
    counted = lambda n: eqx.tree_at(lambda v: v.model.weight, old, jnp.asarray(n))
    assert int(PolyakTarget()(counted(1), counted(7), jnp.asarray(5), 1).model.weight) == 7


@pytest.mark.slow
def test_a_polyak_target_is_copied_at_an_injection():
    """A mixture of the parameters of the old and the new network would be neither."""
    base = models.MLP(2, 2, width=3, depth=1, key=KEY)
    model = models.PlasticityInjection(base, later=True, key=jax.random.key(8))
    rule = eqx.filter_jit(PolyakTarget(fraction=0.5))
    follow = lambda old, new: (
        rule(ValueNetwork(old, None), ValueNetwork(new, None), jnp.asarray(5), 1).model
    )
    assert eqx.tree_equal(follow(model, model.inject()), model.inject())
    later = jax.tree.map(lambda x: x + 1 if eqx.is_inexact_array(x) else x, model)
    weight = lambda m: np.asarray(m.trained.layers[0].weight)
    for old, new in ((model, later), (model.inject(), later.inject())):
        np.testing.assert_allclose(
            weight(follow(old, new)), (weight(old) + weight(new)) / 2, rtol=1e-6
        )


def test_returns_that_follow():
    """Episodes that terminate, that are cut off, and that are not over at the last step."""
    rewards = jnp.asarray([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    values = 10 * jnp.arange(1.0, 7.0)[:, None]
    terminated = jnp.asarray([0, 1, 0, 0, 0, 0], bool)[:, None]
    truncated = jnp.asarray([0, 0, 0, 1, 0, 0], bool)[:, None]
    returns, weight = returns_from(rewards, values, terminated, truncated, discount=0.5)
    right = [2.0, 2.0, 3 + 0.5 * (4 + 0.5 * 40), 4 + 0.5 * 40, 5 + 0.5 * (6 + 0.5 * 60), 36.0]
    np.testing.assert_allclose(returns[:, 0], right)
    np.testing.assert_allclose(weight[:, 0], [0, 0, 0.25, 0.5, 0.25, 0.5])
