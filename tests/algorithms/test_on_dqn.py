"""All algorithms on a deep Q-network that sees images: a convolution and a dueling head."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import ALGORITHMS, NEEDS, waiting

from spectral import algorithms, models, tasks
from spectral._core import _train_chunk, begin_task, start_run


KEY = jax.random.key(3)


class Images(tasks.AbstractEnvironment):
    """Images of random bytes; the reward is the action times the parameter."""

    observation_size: int = eqx.field(static=True, default=32)
    action_size: int = eqx.field(static=True, default=3)
    discrete: bool = eqx.field(static=True, default=True)

    def reset(self, parameter, *, key):
        return jnp.asarray(0), jax.random.randint(key, (2, 4, 4), 0, 4).astype(jnp.uint8)

    def step(self, state, action, parameter, *, key):
        seen = self.reset(parameter, key=key)[1]
        return state + 1, tasks.Step(seen, parameter * action, state == 4, False)


@functools.cache
def stream() -> tasks.DQN:
    """A chunk has eight environment steps and four gradient steps."""
    world = tasks.ChangingEnvironment(Images(), tasks.Cycle((0.5, 1.5)), 16)
    options: dict[str, Any] = {"num_tasks": 2, "capacity": 24, "minibatch_size": 4}
    options |= {"learning_starts": 4, "steps_per_rollout": 8, "replay_ratio": 0.5, "double": True}
    options |= {"num_evaluation_environments": 1, "evaluation_steps": 5}
    return tasks.DQN(world, target_update=tasks.PeriodicTarget(period=8), **options)


def network(*, later: bool = False, **options: Any) -> models.AbstractNetwork:
    options = {"channels": (3,), "kernels": (3,), "dense_sizes": (4,), "padding": "valid"} | options
    inner = models.ConvNet((2, 4, 4), 3, pooling=False, **options, key=KEY)
    model = models.Dueling(inner, key=KEY)
    return waiting(model) if later else model


def two_tasks(algo: Any, dqn: tasks.DQN, model: Any) -> Any:
    """The run after a chunk of the first task, and at the start of the second one."""
    first, second = jnp.asarray(0), jnp.asarray(1)
    run = begin_task(start_run(model, None, dqn, algo, KEY), dqn, algo, first, KEY)
    run, row = _train_chunk(run, dqn, algo, first, first, key=KEY)
    return run, begin_task(run, dqn, algo, second, KEY), row["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm(name):
    """Its programs are traced. `AdaLin` rejects convolutions."""
    dqn = stream()
    make = lambda algo: two_tasks(algo, dqn, network(**NEEDS.get(name, {})))
    if name == "adalin":
        with pytest.raises(ValueError, match="AdaLin"):
            eqx.filter_eval_shape(make, ALGORITHMS[name](0.01))
    else:
        eqx.filter_eval_shape(make, ALGORITHMS[name](0.01))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["sokar", "nikishin", "tang"])
def test_published_settings(source):
    """They fit chunks of eight gradient steps. Units and the last layer are renewed, and the replay
    stays."""
    name = {"sokar": "redo", "nikishin": "reset", "tang": "c_chain"}[source]
    algo = algorithms.preset("dqn", name, source=source)
    eight = tasks.DQN(
        stream().world,
        num_tasks=2,
        capacity=24,
        minibatch_size=4,
        learning_starts=4,
        steps_per_rollout=8,
        replay_ratio=1,
    )

    before, after, loss = eqx.filter_jit(two_tasks)(algo, eight, network())
    assert np.isfinite(loss).all()
    assert int(before.stream.replay.size) == int(after.stream.replay.size) == 8
    head = lambda run: (run.learner.model.value.weight, run.learner.model.network.dense[-1].weight)
    renewed = [not np.array_equal(a, b) for a, b in zip(head(before), head(after), strict=True)]
    assert renewed == [name == "reset"] * 2
    others = lambda run: run.learner.model.network.dense[0].weight
    np.testing.assert_array_equal(others(before), others(after))
