"""Calibrated partial resets of units, and selective reinitialisation of single weights."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from signals import arrays, learner_of, mlp, signal_at

from spectral import Clock
from spectral.algorithms import CalibratedPartialReset, SelectiveReinit


KEY = jax.random.key(0)
INPUTS = np.ones((4, 1, 2), np.float32)


def at_step(signal, step, grads):
    """The signal at a step of the run, with 4 minibatches in a chunk."""
    clock = Clock(step, step % 4, step // 4, jnp.asarray(0))
    return eqx.tree_at(lambda s: (s.clock, s.grads), signal, (clock, grads))


# The parts of the amount that units with the utilities 0.995 and 1.005 move.
CURVES = {
    ("sigmoid", 1.0): (1, 0.96002132),
    ("exponential", 0.95): (0.48675226, 0.41478291),
    ("softplus", 1.0): (1, 0.94344605),
    ("linear", 1.0): (1, 0.92),
}


def test_units_move_towards_new_ones():
    """Gradients of size 1 and 3 in the first layer, 3 and 1 in the second, at the first step after
    a period, and at steps at which nothing moves."""
    model = mlp(2, 2, width=2, depth=2, initialiser=networks.ByKey())
    learner, signal = learner_of(model), signal_at(model, INPUTS, taps={})
    sizes = ([[1.0, -1.0], [2.0, -4.0]], [[3.0, -3.0], [1.0, 1.0]])
    where = lambda m: (m.layers[0].weight, m.layers[1].weight)
    grads = eqx.tree_at(where, signal.grads, tuple(map(jnp.asarray, sizes)))

    @eqx.filter_jit
    def after(step, amount):
        transform = CalibratedPartialReset(amount=amount, period=4)
        state, now = transform.init(learner, key=KEY), at_step(signal, step, grads)
        changed, utilities = transform.update(learner, state, now, key=KEY)
        options = [{"curve": curve, "threshold": t} for curve, t in CURVES]
        seen = jnp.asarray([0.995, 1.005, 1.1, -9.0])
        parts = [CalibratedPartialReset(amount=amount, **o)._transition(seen) for o in options]
        return arrays(changed.model), utilities, parts, arrays(model.fresh(key=KEY))

    weights, utilities, parts, fresh = after(jnp.asarray(4), 0.015)
    old = [np.asarray(p) for p in arrays(model)]
    for expected, own in zip(CURVES.values(), parts, strict=True):
        np.testing.assert_allclose(own[:2], expected, rtol=2e-6)
        assert own[2] < own[1]
        assert own[3] == 1
    r = 0.015 * np.array([1, 0.96002132])
    first = (1 - r)[:, None] * old[0] + r[:, None] * np.asarray(fresh[0])
    r2 = r[::-1]
    second = (1 - r2)[:, None] * (1 - r) * old[2] + r2[:, None] * np.asarray(fresh[2])
    expected = [first, old[1], second, old[3], (1 - r2) * old[4], old[5]]
    for now, value in zip(weights, expected, strict=True):
        np.testing.assert_allclose(now, value, rtol=2e-6)
    np.testing.assert_array_equal(utilities, np.ones((2, 2)))

    for step, amount in ((0, 0.015), (3, 0.015), (4, 0.0), (5, 0.015), (8, 0.0)):
        weights, utilities, *_ = after(jnp.asarray(step), amount)
        for now, value in zip(weights, old, strict=True):
            np.testing.assert_array_equal(now, value)
        expected = np.ones(2) if step % 4 == 0 and step else [0.995, 1.005]
        np.testing.assert_allclose(utilities[0], expected, rtol=1e-6)


W, G = (1.0, -2.0, 0.5, 4.0), (0.1, 0.2, -0.6, 0.05)  # utilities 0.1, 0.4, 0.3, 0.2


def single(weight):
    """One row of weights to one output, and its gradient."""
    model = mlp(4, 1, depth=0, initialiser=networks.ByKey(10.0))
    return eqx.tree_at(lambda m: m.layers[0].weight, model, jnp.asarray([weight]))


def test_the_entries_of_lowest_utility():
    model, last = single(W), lambda m: m.layers[0].weight
    learner, inputs = learner_of(model), np.zeros((4, 1, 4), np.float32)
    inputs[2:, 0] = [[1, 0, 0, 0], [0, 2, 1, 0]]
    signal = signal_at(model, jnp.asarray(inputs), 3, taps={})

    @eqx.filter_jit
    def marked(grad):
        now = eqx.tree_at(lambda s: last(s.grads), signal, grad)
        change = lambda transform: transform.update(learner, None, now, key=KEY)[0].model
        options = [
            SelectiveReinit(fraction=0.5),
            SelectiveReinit(fraction=0.5, pruning="proportional"),
            SelectiveReinit(fraction=0.0),
            SelectiveReinit(fraction=0.3, utility="magnitude"),
            SelectiveReinit(fraction=0.5, target="mean"),
            SelectiveReinit(fraction=0.5, window=2),
        ]
        return [last(change(transform))[0] for transform in options]

    found = marked(jnp.asarray([G]))
    changed = [np.flatnonzero(np.asarray(w) != np.array(W)).tolist() for w in found]
    # On the last two minibatches the outputs are 1 and -3.5, up to the bias: the last weight has no
    # gradient, and the utilities of the others are about 1, 14 and 1.75, with the mean 4.2.
    assert changed == [[0], [0, 3], [], [2], [0], [0, 2, 3]]
    assert float(found[4][0]) == 0
    for weights in (found[0], found[1], found[3], found[5]):
        new = np.asarray(weights)[np.asarray(weights) != np.array(W)]
        assert ((new >= 10) & (new <= 20)).all()  # a draw of the initialiser
    without = marked(jnp.asarray([[0.0, 0.2, -0.6, 0.0]]))
    assert np.flatnonzero(np.asarray(without[2]) != np.array(W)).tolist() == [0, 3]


def test_a_fraction_of_entries_holds_on_average():
    transform, utility = (
        SelectiveReinit(fraction=0.3, pruning="proportional"),
        jnp.asarray([3.0, 1, 2, 4]),
    )
    count = lambda key: jnp.sum(transform._lowest(utility, jnp.ones(4, bool), key=key))
    counts = np.asarray(jax.jit(jax.vmap(count))(jax.random.split(KEY, 2000)))
    assert set(counts) == {1, 2}
    np.testing.assert_allclose(counts.mean(), 1.2, atol=4 * (0.2 * 0.8 / 2000) ** 0.5)


@pytest.mark.slow
def test_means_and_missing_connections():
    """Scales of norms become 1 and all else 0. Missing connections are neither counted nor
    drawn."""
    model = networks.mlp(KEY, layer_norm=True, density=0.5).model
    model = jax.tree.map(lambda x: x + 0.5 if eqx.is_inexact_array(x) else x, model)
    signal = signal_at(model, np.ones((4, 1, 3), np.float32), taps={})

    @eqx.filter_jit
    def changed():
        options: Any = {"utility": "magnitude", "pruning": "proportional"}
        transforms = (
            SelectiveReinit(fraction=1.0, target="mean", **options),
            SelectiveReinit(fraction=0.5, **options),
        )
        learner = learner_of(model)
        return [t.update(learner, None, signal, key=KEY)[0].model for t in transforms]

    mean, half = changed()
    for layer, now in zip(model.layers[:2], mean.layers[:2], strict=True):
        existing = np.asarray(layer.mask)
        assert not np.asarray(now.weight)[existing].any()
    assert all(np.all(np.asarray(n.weight) == 1) for n in mean.norms)
    assert not any(np.any(n.bias) for n in mean.norms)
    for layer, now in zip(model.layers[:2], half.layers[:2], strict=True):
        moved, existing = np.asarray(now.weight) != np.asarray(layer.weight), np.asarray(layer.mask)
        assert moved.sum() == existing.sum() // 2
        assert not moved[~existing].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CalibratedPartialReset(amount=1.5), "`amount` is 1.5"),
        (lambda: CalibratedPartialReset(sharpness=0.0), "`sharpness` is 0.0"),
        (lambda: CalibratedPartialReset(threshold=np.inf), "`threshold` is inf"),
        (lambda: CalibratedPartialReset(period=0), "`period` is 0"),
        (
            lambda: inspect.unwrap(CalibratedPartialReset.__init__)(None, curve="step"),
            "`curve`: Name 'step' does not exist",
        ),
        (lambda: SelectiveReinit(fraction=-0.1), "`fraction` is -0.1"),
        (lambda: SelectiveReinit(window=0), "`window` is 0"),
        (lambda: SelectiveReinit(utility="magnitude", window=2), "`window` is 2, but `utility`"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_period_that_does_not_fit_is_rejected():
    model = mlp(2, 2, width=2, depth=1)
    transform, signal = CalibratedPartialReset(period=3), signal_at(model, INPUTS, taps={})
    learner = learner_of(model)
    with pytest.raises(ValueError, match="A period of 3 steps does not fit a chunk of 4"):
        eqx.filter_eval_shape(transform.update, learner, (jnp.ones(2),), signal, key=KEY)
