"""Runs of PPO that diverge, environments of other packages, and a problem with a known optimum."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import Tabular

from spectral import algorithms, Diverged, models, tasks, train_continual, train_tasks
from spectral.tasks import ChangingEnvironment, Cycle, PPO
from spectral.tasks.rl.rollouts._rollout import begin


KEY = jax.random.key(3)


class Exploding(tasks.AbstractEnvironment):
    """Physics that become NaN while the parameter exceeds 1.

    As in some packages, states, rewards and ends are Python numbers, and a step writes into its
    state.
    """

    observation_size: int = eqx.field(static=True, default=3)
    action_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)

    def reset(self, parameter, *, key):
        return {"steps": 0, "height": 1.0}, jnp.zeros(3)

    def step(self, state, action, parameter, *, key):
        state["steps"] = state["steps"] + 1
        state["height"] = 2
        reward = jnp.where(parameter > 1, jnp.nan, 2) - action[0] ** 2
        return state, tasks.Step(jnp.ones(3, int), reward, False, False)


def diverge(lr: float, *, log_std: float = 0.0) -> Diverged:
    """Two tasks of two rollouts, of which the third explodes. A rollout has two minibatches."""
    world = ChangingEnvironment(tasks.TimeLimit(Exploding(), 4), Cycle((0.5, 1.5)), 16)
    sizes: Any = {"steps_per_rollout": 8, "epochs": 1, "minibatches_per_epoch": 2}
    stream = PPO(world, num_tasks=2, num_evaluation_environments=0, **sizes)
    model = eqx.tree_at(lambda m: m.log_std, Tabular(), jnp.array([log_std]))
    with pytest.raises(Diverged) as report:
        train_continual(model, stream, algorithms.bp(lr))
    return report.value


def test_diverging_physics_stop_the_run():
    error = diverge(1e-3)
    assert "The data became non-finite in task 1 at step 4" in str(error)
    assert "Check the data of that task or the environment" in str(error)
    assert (error.what, error.task, error.step) == ("data", 1, 4)
    history = error.history
    np.testing.assert_array_equal(np.isnan(history["loss"]), [[False, False], [True, True]])
    # The rollout that exploded is recorded, and no further one is played.
    np.testing.assert_array_equal(np.isnan(history["parameter"]), [[False, False], [False, True]])
    assert "evaluation_return" not in history
    # The time limit ends each episode after 4 steps.
    np.testing.assert_array_equal(history["num_episodes"][0], [2, 2])
    np.testing.assert_array_equal(history["episode_length"][0], [4, 4])
    np.testing.assert_allclose(history["episode_return"][0], 4 * history["reward"][0], rtol=1e-5)


def test_a_high_learning_rate_is_not_reported_as_data():
    error = diverge(1e30)
    assert "lower the learning rate, or check the data" in str(error)
    assert error.what in ("loss", "weights")
    assert np.isfinite(error.history["reward"][0, 0])


def test_actions_can_make_the_data_diverge():
    """The weights are finite, but the squares of the actions are not."""
    error = diverge(1e-3, log_std=50.0)
    assert "if the network collects them, lower the learning rate" in str(error)
    assert (error.what, error.task, error.step) == ("data", 0, 0)


def best_return(start: np.ndarray, friction: float, steps: int) -> np.ndarray:
    """Returns the optimum of the point mass, from a Riccati equation."""
    a = np.array([[1, 0.1 * (1 - 0.1 * friction)], [0, 1 - 0.1 * friction]])
    b, cost = np.array([[0.01], [0.1]]), np.zeros((2, 2))
    for _ in range(steps):
        now = cost + np.diag([1.0, 0.0])
        gain = np.linalg.solve(0.1 + b.T @ now @ b, b.T @ now @ a)
        cost = a.T @ now @ (a - b @ gain)
    return -np.einsum("ni,ij,nj->n", start, cost, start)


@pytest.mark.slow
def test_ppo_reaches_the_optimum_of_the_point_mass():
    """60,000 steps reach 95 % of the best controller from the same starts, for five seeds."""
    limited = tasks.TimeLimit(tasks.PointMass(), 50)
    world = ChangingEnvironment(limited, Cycle((1.0,)), 60_000)
    options = {
        "num_environments": 8,
        "steps_per_rollout": 1000,
        "minibatches_per_epoch": 10,
        "discount": 0.98,
    }
    stream = PPO(world, num_tasks=1, num_evaluation_environments=64, evaluation_steps=50, **options)

    @eqx.filter_jit
    def run(key):
        keys = jax.random.split(key)
        options = {"width": 32, "activation": "tanh", "initial_log_std": -0.5}
        model = models.ActorCritic(2, 1, key=keys[0], **options)
        algo = algorithms.bp(algorithms.adam(1e-3))
        after, _ = train_tasks(model, stream, algo, key=keys[1])
        begin_key, _ = jax.random.split(KEY)
        values = after.stream.values_of_task(stream.world)
        start = begin(world, values, 64, key=begin_key).observation
        return start, stream.evaluate(after.stream, after.learner, key=KEY)["evaluation_return"]

    for seed in range(5):
        start, reached = run(jax.random.key(seed))
        best = best_return(np.asarray(start), 1.0, 50).mean()
        assert 1.05 * best < reached <= 0.99 * best
