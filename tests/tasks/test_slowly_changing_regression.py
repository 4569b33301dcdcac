"""Slowly changing regression against its formula in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, Clock, Learner, models, tasks
from spectral._check_parts import check_parts


STREAM = tasks.SlowlyChangingRegression(
    num_tasks=4, steps_per_task=6, minibatch_size=2, num_slow_bits=3, num_fast_bits=2, num_units=7
)
KEY = jax.random.key(0)


@eqx.filter_jit
def _look(stream, learner):
    """Returns the state of every task, its bits and minibatches, and losses of the network."""
    zero = jnp.asarray(0)

    def look(state, task):
        clock = Clock(zero, zero, zero, task)
        state = stream.begin_task(state, clock, key=jax.random.fold_in(KEY, task))
        _, chunk, _ = stream.collect(state, learner, clock, key=jax.random.fold_in(KEY, task))
        batches = jax.vmap(lambda item: stream.batch(state, item))(chunk.items)
        first = jax.tree.map(lambda x: x[0], batches)
        outputs, _ = stream.forward(learner.model, None, first, key=KEY, inference=False)
        loss, _ = stream.criterion(outputs, first)
        held_out = stream.sample(state, learner, 50, "held_out", key=KEY)
        metrics = stream.evaluate(state, learner, key=KEY)
        return state, (state, chunk.items, batches, loss, held_out, metrics)

    return jax.lax.scan(look, stream.init(key=KEY), jnp.arange(4))[1]


def test_regression_follows_its_formula():
    model = eqx.filter_jit(models.MLP)(STREAM.in_size, STREAM.out_size, width=3, depth=1, key=KEY)
    found = _look(STREAM, Learner(model, None, algorithms.bp().optimiser))
    states, bits, batches, losses, held_out, metrics = jax.tree.map(np.asarray, found)
    assert bits.shape == (4, 6, 2, 2)
    np.testing.assert_array_equal(np.abs(np.diff(states.slow, axis=0)).sum(axis=1), 1)
    weights, signs = states.weights[0], states.head[0]
    assert set(np.abs(weights).ravel()) == set(np.abs(signs)) == {1.0}
    assert len(set(signs)) == 2
    slow = np.broadcast_to(states.slow[:, None, None], (4, 6, 2, 3))
    inputs = np.concatenate([slow, bits, np.ones((4, 6, 2, 1))], axis=3)
    np.testing.assert_array_equal(batches.inputs, inputs)
    limits = 6 * 0.7 - (weights < 0).sum(axis=1)
    targets = lambda x: (x @ weights.T > limits) @ signs
    np.testing.assert_array_equal(batches.targets, targets(inputs))
    assert len(np.unique(batches.targets)) > 2

    (a, b), (c, d) = ([np.asarray(x) for x in (d.weight, d.bias)] for d in model.layers)
    errors = lambda x: ((np.maximum(x @ a.T + b, 0) @ c.T + d)[..., 0] - targets(x)) ** 2
    np.testing.assert_allclose(losses, errors(inputs[:, 0]).mean(axis=1), rtol=1e-4)
    # Samples and the evaluation draw all combinations of the two fast bits.
    for task in range(4):
        combinations, counts = np.unique(held_out.inputs[task], axis=0, return_counts=True)
        assert len(combinations) == 4
        assert counts.sum() == 50
        np.testing.assert_array_equal(held_out.targets[task], targets(held_out.inputs[task]))
        expected = errors(combinations)
        noise = 5 * expected.std() / np.sqrt(STREAM.num_evaluation_examples)
        np.testing.assert_allclose(metrics["test_loss"][task], expected.mean(), atol=noise + 1e-4)


def test_all_slow_bits_may_be_drawn_again():
    """As in the main experiment of Dohare et al.'s code."""
    stream = tasks.SlowlyChangingRegression(num_slow_bits=400, redraw=True)
    state, zero = stream.init(key=KEY), jnp.asarray(0)
    first, second = (
        stream.begin_task(state, Clock(zero, zero, zero, jnp.asarray(task)), key=jax.random.key(7))
        for task in (0, 1)
    )
    np.testing.assert_array_equal(first.slow, state.slow)
    changed = np.asarray(second.slow != state.slow)
    assert 150 < changed.sum() < 250
    assert set(np.asarray(second.slow)) == {0.0, 1.0}


def test_thresholds_against_the_code_of_dohare():
    """The number of bits that must agree with the sign of their weight so that a unit is on.

    It depends on the weight of the constant. Their code counts it as half a negative weight with
    the wrong sign, which changes nothing for +1, but 15 to 17 for -1.
    """
    stream = tasks.SlowlyChangingRegression()
    state = stream.init(key=KEY)
    weights = np.asarray(state.weights)
    bits, constant = weights[:, :-1], weights[:, -1]
    negative = (bits < 0).sum(axis=1)
    agreeing = np.arange(21)
    # The weighted sum of the bits is the number that agree minus the number of negative weights.
    needed = lambda limits: (agreeing + (constant - negative)[:, None] > limits[:, None]).argmax(
        axis=1
    )
    ours = needed(np.asarray(state.thresholds))
    np.testing.assert_array_equal(ours, np.where(constant > 0, 14, 15))
    counted = (20 - bits.sum(axis=1) + constant) / 2
    np.testing.assert_array_equal(needed(0.7 * 21 - counted), np.where(constant > 0, 14, 17))
    assert 0 < (constant > 0).sum() < 100


def test_bad_arguments():
    model = eqx.filter_eval_shape(models.MLP, 6, 2, width=3, depth=1, key=KEY)
    with pytest.raises(ValueError, match="out_size=1"):
        check_parts(model, STREAM, algorithms.bp())
    with pytest.raises(ValueError, match="`num_units` is 0"):
        tasks.SlowlyChangingRegression(num_units=0)
    with pytest.raises(ValueError, match="`threshold` is -1"):
        tasks.SlowlyChangingRegression(threshold=-1)
