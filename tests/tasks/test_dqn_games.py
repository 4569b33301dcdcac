"""DQN on several games with one head: no game sees an action that it does not have."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, models, tasks
from spectral._core import _train_chunk, begin_task, start_run


KEY, ZERO = jax.random.key(3), jnp.asarray(0)


class Strict(tasks.AbstractEnvironment):
    """The reward is the action, or -1000 for an action that there is not."""

    action_size: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=True)

    def reset(self, parameter, *, key):
        return ZERO, jnp.zeros(1)

    def step(self, state, action, parameter, *, key):
        reward = jnp.where(action < self.action_size, action, -1000)
        return state, tasks.Step(jnp.zeros(1), reward, False, False)


@pytest.mark.slow
def test_a_game_never_sees_an_action_that_it_does_not_have():
    """Of three actions the first game has two, where the third counts as action 0, in exploration
    and in evaluation. The network prefers the third."""
    games = tasks.Games((Strict(action_size=2), Strict(action_size=3)))
    world = tasks.ChangingEnvironment(tasks.TimeLimit(games, 4), tasks.TaskIndex(), 32)
    options: dict[str, Any] = {
        "num_tasks": 2,
        "capacity": 64,
        "minibatch_size": 16,
        "learning_starts": 1,
        "steps_per_rollout": 32,
        "replay_ratio": 1 / 32,
        "num_evaluation_environments": 1,
        "evaluation_steps": 4,
    }
    stream = tasks.DQN(world, exploration=tasks.LinearEpsilon(last=1.0), **options)
    algo = algorithms.bp(1e-9)
    model = models.MLP(1, 3, width=2, depth=1, key=KEY)
    head = lambda m: (m.layers[-1].weight, m.layers[-1].bias)
    model = eqx.tree_at(head, model, (jnp.zeros((3, 2)), jnp.array([0.0, 0.5, 1.0])))

    @jax.jit
    def run_of(task):
        run = start_run(model, None, stream, algo, KEY)
        run = eqx.tree_at(lambda r: r.stream.values, run, jnp.full(3, task, float))
        run = begin_task(run, stream, algo, ZERO, KEY)
        run, _ = _train_chunk(run, stream, algo, ZERO, ZERO, key=KEY)
        evaluated = stream.evaluate(run.stream, run.learner, key=KEY)
        rows = run.stream.replay.transitions
        return rows.action[:32], rows.reward[:32], evaluated["evaluation_return"]

    for task in (0, 1):
        # The new game comes with the second episode: leave out the first four steps.
        action, reward, evaluated = map(np.asarray, run_of(task))
        seen = np.where((action == 2) & (task == 0), 0, action)
        assert set(action.tolist()) == {0, 1, 2}
        np.testing.assert_array_equal(reward[4:], seen[4:])
        assert evaluated == (8.0 if task else 0.0)
