"""A learning rate that falls within each task, and algorithms with further transforms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from signals import learner_of, mlp, signal_at, start_of

from spectral import algorithms, Clock, Optimiser
from spectral._carry import arrays_of, on_arrays
from spectral.algorithms import followed_by, Reset, StepDecay


KEY = jax.random.key(0)


def test_the_rate_falls_within_each_task():
    """Two tasks of four chunks of two steps; both tasks have the same rates."""
    transform, inputs = StepDecay(0.5, (1, 3)), jnp.ones((2, 1, 1))
    learner = learner_of(mlp(1, 1, depth=0))
    signal = signal_at(learner.model, inputs, taps={})
    step = np.arange(8)

    @jax.jit
    def rates(full):
        start = eqx.tree_at(lambda le: le.optimiser.hyper["learning_rate"], learner, full)
        state = transform.init(start, key=KEY)

        def one(learner, place):
            rate = learner.optimiser.hyper["learning_rate"]
            now = eqx.tree_at(lambda s: s.clock, signal, Clock(*place))
            return transform.update(learner, state, now, key=KEY)[0], rate

        def task(arrays, index):
            begin = lambda le: transform.begin_task(le, state, start_of(), key=KEY)[0]
            places = (8 * index + step, step % 2, step // 2, jnp.full(8, index))
            return jax.lax.scan(on_arrays(one, start), on_arrays(begin, start)(arrays), places)

        return jax.lax.scan(task, arrays_of(start), jnp.arange(2))[1]

    expected = np.repeat([0.1, 0.05, 0.05, 0.025], 2)
    np.testing.assert_allclose(rates(0.1), [expected, expected], rtol=1e-6)


def test_transforms_come_after_those_of_the_algorithm():
    first = algorithms.l2_er(0.1, er_period=4)
    both = followed_by(first, (Reset(part="head"),))
    assert both.transforms[0] is first.transforms[0]
    assert isinstance(both.transforms[1], Reset)
    assert both.penalties is first.penalties


def _nameless(rate):
    return optax.sgd(rate)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`factor` is 0"):
        StepDecay(0.0, (1,))
    with pytest.raises(ValueError, match="`chunks` is 0"):
        StepDecay(0.5, (0,))
    learner = learner_of(mlp(1, 1, depth=0), Optimiser(_nameless, rate=0.1))
    with pytest.raises(ValueError, match=r"needs an optimiser with a `learning_rate`.*\['rate'\]"):
        StepDecay(0.5, (1,)).init(learner, key=KEY)
