"""ReDo, ReGraMa and self-normalised resets against NumPy on a small network."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from signals import arrays, forward, learner_of, signal_at

from spectral import algorithms, models, Optimiser
from spectral.algorithms import ReDo, ReGraMa, SelfNormalizedReset
from spectral.algorithms._base._fresh import fresh_parameters
from spectral.algorithms.transforms.units._recycling import AbstractRecycling


def renewed_units(before, after):
    """By layer, the units whose incoming weights changed; all that belongs to them must follow."""
    found = []
    for i, group in enumerate(before.units()):
        old, new = (np.asarray(m.layers[i].weight) for m in (before, after))
        units = np.flatnonzero((old != new).all(axis=1))
        # Whatever else changed is the outgoing weights of units of the layer before.
        assert set(np.flatnonzero((old != new).any(axis=1))) in (set(units), set(range(group.size)))
        assert not np.asarray(after.layers[i].bias)[units].any()
        found.append(units.tolist())
    for i, units in enumerate(found):
        # A connection between two new units is an incoming weight of the later one.
        later = found[i + 1] if i + 1 < len(found) else []
        out = np.delete(np.asarray(after.layers[i + 1].weight), later, axis=0)
        assert not out[:, units].any()
    return found


def network(key, dead=()):
    """Two hidden layers; the units in `dead` of the first are silent whatever the input."""
    model = models.MLP(3, 2, width=8, depth=2, key=key)
    bias = jnp.full(8, 0.1).at[jnp.array(dead, int)].set(-100)
    return eqx.tree_at(
        lambda m: (m.layers[0].bias, m.layers[1].bias), model, (bias, bias * 0 + 0.1)
    )


def test_redo_renews_the_dormant_units(getkey):
    model = network(getkey(), dead=(2, 5))
    inputs = jax.random.normal(getkey(), (4, 16, 3))
    learner = learner_of(model, algorithms.adam(0.1))
    optimiser = learner.optimiser.apply(
        jax.tree.map(jnp.ones_like, eqx.filter(model, eqx.is_inexact_array)), model
    )[1]
    learner = type(learner)(model, None, optimiser)
    update = eqx.filter_jit(ReDo(threshold=0.5, window=4).update)
    after, _ = update(learner, None, signal_at(model, inputs, 3), key=getkey())
    h = np.asarray(inputs).reshape(64, 3)
    expected = []
    for layer in model.layers[:-1]:
        h = np.maximum(h @ np.asarray(layer.weight).T + np.asarray(layer.bias), 0)
        score = np.abs(h).mean(0) / np.abs(h).mean()
        expected.append(np.flatnonzero(score <= 0.5).tolist())
    assert {2, 5} <= set(expected[0]) < set(range(8))
    assert renewed_units(model, after.model) == expected
    first = after.optimiser.state.mean.layers[0].weight
    assert np.flatnonzero((np.asarray(first) == 0).all(axis=1)).tolist() == expected[0]


def test_redo_leaves_no_dormant_unit_and_no_trace(getkey):
    """On its own batch; only silent units are touched, so the function stays as it was."""
    model = network(getkey(), dead=(1, 4, 6))
    inputs = jax.random.normal(getkey(), (1, 64, 3))
    transform = ReDo(threshold=0.0)
    update = eqx.filter_jit(transform.update)
    learner, signal = learner_of(model), signal_at(model, inputs)
    for _ in range(2):  # a newly drawn unit can happen to be silent too
        learner, _ = update(learner, None, signal, key=getkey())
    before, after = (
        forward(m, None, inputs[0], key=None, inference=False) for m in (model, learner.model)
    )
    assert models.dead(before[1].taps["hidden_0"]).sum() == 3
    for taps in after[1].taps.values():
        assert not models.dead(taps).any()
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    again, _ = update(learner, None, signal, key=getkey())
    for a, b in zip(arrays(again), arrays(learner), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_fresh_outgoing_weights(density, getkey):
    """Those of a new network, for renewed units alone, where a sparse layer has connections."""
    model = models.MLP(3, 2, width=8, depth=2, density=density, key=getkey())
    bias = jnp.full(8, 5.0).at[jnp.array([2, 5])].set(-100)
    biases = lambda m: (m.layers[0].bias, m.layers[1].bias)
    model = eqx.tree_at(biases, model, (bias, jnp.full(8, 100.0)))
    inputs, key = jax.random.normal(getkey(), (1, 16, 3)), getkey()
    # It keeps a copy of the weights, which must follow.
    optimiser = Optimiser(optax.contrib.schedule_free_sgd, learning_rate=0.1)
    learner, signal, results = learner_of(model, optimiser), signal_at(model, inputs), {}
    for outgoing in ("zero", "fresh"):
        update = eqx.filter_jit(ReDo(threshold=0.0, outgoing=outgoing).update)
        results[outgoing], _ = update(learner, None, signal, key=key)
        copy = results[outgoing].optimiser.state.z
        for a, b in zip(arrays(results[outgoing].model), arrays(copy), strict=True):
            np.testing.assert_array_equal(a, b)
    zero, fresh = (np.asarray(r.model.layers[1].weight) for r in results.values())
    mask = np.asarray(model.layers[1].mask) if density < 1 else np.ones((8, 8), bool)
    new = fresh_parameters(model, key=jax.random.split(key, 3)[2]).layers[1].weight
    np.testing.assert_array_equal(np.asarray(new) != 0, mask)
    dead = np.arange(8)[None] * np.ones((8, 1)) % 3 == 2
    assert not zero[dead].any()
    np.testing.assert_array_equal(fresh, np.where(dead, new, zero))
    assert fresh[dead].any()
    for a, b in zip(*(arrays(r) for r in results.values()), strict=True):
        assert a is b or a.shape == (8, 8) or np.array_equal(a, b)
    # Without a dormant unit nothing moves.
    model = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.full(8, 5.0))
    alive = learner_of(model, optimiser)
    after, _ = update(alive, None, signal_at(alive.model, inputs), key=key)
    for a, b in zip(arrays(after), arrays(alive), strict=True):
        np.testing.assert_array_equal(a, b)


def test_regrama_renews_units_with_small_gradients(float64, getkey):
    model = network(getkey(), dead=(3,))
    inputs = jax.random.normal(getkey(), (2, 16, 3))
    update = eqx.filter_jit(ReGraMa(threshold=0.4, window=2).update)
    after, _ = update(learner_of(model), None, signal_at(model, inputs, 1), key=getkey())
    # The gradient of mean_n sum_k f_k(x_n)^2 by hand.
    weights = [np.asarray(d.weight) for d in model.layers]
    biases = [np.asarray(d.bias) for d in model.layers]
    hidden = [np.asarray(inputs).reshape(32, 3)]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        hidden.append(np.maximum(hidden[-1] @ w.T + b, 0))
    delta = 2 * (hidden[-1] @ weights[-1].T + biases[-1]) / 32
    expected = []
    for layer in (1, 0):
        delta = (delta @ weights[layer + 1]) * (hidden[layer + 1] > 0)
        score = np.abs(delta.T @ hidden[layer]).mean(1)
        expected.insert(0, np.flatnonzero(score <= 0.4 * score.mean()).tolist())
    assert 3 in expected[0]
    assert 0 < sum(map(len, expected)) < 16
    assert renewed_units(model, after.model) == expected


@pytest.mark.parametrize("batch", [1, 3])
def test_silences_against_a_python_count(batch, getkey):
    """Two units fire now and then, one stops, one never fires; ages, counts and resets by hand."""
    model = models.MLP(4, 1, width=4, depth=1, key=getkey())
    rng = np.random.default_rng(0)
    steps, rejection_level, longest = 400, 0.1, 60
    fires = np.stack([rng.random(steps) < p for p in (0.5, 0.2, 0.7, 0.0)], axis=1)
    fires[200:, 2] = False
    transform = SelfNormalizedReset(rejection_level=rejection_level, max_age=longest)
    state = transform.init(learner_of(model), key=getkey())
    learner, signal = learner_of(model), signal_at(model, jnp.ones((1, batch, 4)))
    activity = np.zeros((steps, batch, 4), np.float32)
    activity[np.arange(steps), rng.integers(0, batch, steps)] = fires

    def step(carry, xs):
        learner, state = carry
        now = eqx.tree_at(lambda s: s.taps, signal, {"hidden_0": xs[0]})
        after, state = transform.update(eqx.combine(learner, static), state, now, key=xs[1])
        same = jnp.all(after.model.layers[0].weight == learner.model.layers[0].weight, axis=1)
        return (eqx.filter(after, eqx.is_array), state), ~same

    arrays_of, static = eqx.partition(learner, eqx.is_array)
    keys = jax.random.split(getkey(), steps)
    run = jax.jit(lambda c, x: jax.lax.scan(step, c, x)[1])
    reset = np.asarray(run((arrays_of, state), (jnp.asarray(activity), keys)))

    edges = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56]
    age, past = [0] * 4, [[] for _ in range(4)]
    for t in range(steps):
        for i in range(4):
            if fires[t, i]:
                past[i].append(age[i])
                age[i] = 0
            else:
                age[i] += batch
            edge = max([e for e in edges if e <= age[i]], default=0)
            n = len(past[i])
            rare = age[i] > 0 and n >= 10 and sum(a >= edge for a in past[i]) <= rejection_level * n
            due = rare or age[i] >= longest
            assert reset[t, i] == due, (t, i)
            if due:
                age[i], past[i] = 0, []
    assert reset[:, 3].sum() == steps * batch // longest
    assert reset[200:260, 2].any()


def test_a_live_unit_is_never_reset(getkey):
    """Units that fire on every example have no silence to be judged by."""
    model = network(getkey())
    model = eqx.tree_at(
        lambda m: (m.layers[0].bias, m.layers[1].bias), model, (jnp.full(8, 50.0), jnp.full(8, 1e3))
    )
    transform = SelfNormalizedReset(rejection_level=0.5, max_age=5)
    learner, signal = learner_of(model), signal_at(model, jnp.ones((1, 2, 3)))
    state = transform.init(learner, key=getkey())
    update, after = eqx.filter_jit(transform.update), None
    for _ in range(20):
        after, state = update(learner, state, signal, key=getkey())
    for a, b in zip(arrays(after), arrays(learner), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReDo(threshold=-0.1), "`threshold` is -0.1"),
        (lambda: ReDo(threshold=0.1, window=0), "`window` is 0"),
        (lambda: ReGraMa(threshold=-0.1), "`threshold` is -0.1"),
        (lambda: ReGraMa(threshold=0.1, window=0), "`window` is 0"),
        (lambda: SelfNormalizedReset(rejection_level=0.0), "`rejection_level` is 0.0"),
        (lambda: SelfNormalizedReset(rejection_level=0.1, max_age=0), "`max_age` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_outgoing_weights_that_do_not_exist():
    make = inspect.unwrap(AbstractRecycling.__init__)
    with pytest.raises(ValueError, match="`outgoing`: Name 'random' does not exist"):
        make(object.__new__(ReDo), 0.1, outgoing="random")


@pytest.mark.parametrize("make", [ReDo, ReGraMa, SelfNormalizedReset])
def test_they_need_units(make, getkey):
    with pytest.raises(TypeError, match="without a method `units\\(\\)`"):
        make().init(learner_of(eqx.nn.Linear(2, 2, key=getkey())), key=getkey())
