"""A rate that falls within each task, and algorithms with further transforms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import permuted

from spectral import algorithms, Optimiser, train_continual, train_tasks
from spectral.algorithms import AbstractTransform, followed_by, Reset, StepDecay


class Rates(AbstractTransform[jax.Array]):
    """Keeps the rate of each step."""

    steps: int = eqx.field(static=True)

    def init(self, learner, *, key):
        return jnp.zeros(self.steps)

    def update(self, learner, state, signal, *, key):
        rate = learner.optimiser.hyper["learning_rate"]
        return learner, state.at[signal.clock.step].set(rate)


def test_the_rate_falls_before_the_chunks_and_begins_again_with_the_task():
    setting = permuted(num_tasks=2, steps_per_task=8, chunks_per_task=4)
    algo = followed_by(algorithms.bp(0.1), (Rates(16), StepDecay(0.5, (1, 3))))
    run, table = eqx.filter_jit(train_tasks)(
        setting.model, setting.stream, algo, key=jax.random.key(0)
    )
    expected = np.repeat([0.1, 0.05, 0.05, 0.025] * 2, 2)
    np.testing.assert_allclose(run.algorithm.transforms[0], expected, rtol=1e-6)
    assert np.isfinite(table["loss"]).all()


def test_transforms_come_after_those_of_the_algorithm():
    first = algorithms.l2_er(0.1, er_period=4)
    both = followed_by(first, (Reset(part="head"),))
    assert both.transforms[0] is first.transforms[0]
    assert isinstance(both.transforms[1], Reset)
    assert both.penalties is first.penalties


def _nameless(rate):
    return optax.sgd(rate)


def test_what_is_refused():
    with pytest.raises(ValueError, match="`factor` is 0"):
        StepDecay(0.0, (1,))
    with pytest.raises(ValueError, match="`chunks` is 0"):
        StepDecay(0.5, (0,))
    setting = permuted(num_tasks=1)
    algo = algorithms.Algorithm(Optimiser(_nameless, rate=0.1), transforms=(StepDecay(0.5, (1,)),))
    with pytest.raises(ValueError, match=r"needs an optimiser with a `learning_rate`.*\['rate'\]"):
        train_continual(setting.model, setting.stream, algo)
