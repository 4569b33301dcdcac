"""ReDo, ReGraMa and self-normalised resets against NumPy on a small network."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import networks
import numpy as np
import optax
import pytest
from signals import after_step, arrays, learner_of, mlp, signal_at, trained

from spectral import Learner, Optimiser
from spectral._carry import arrays_of, with_arrays
from spectral.algorithms import ReDo, ReGraMa, SelfNormalizedReset
from spectral.algorithms._base._fresh import fresh_parameters


KEY = jax.random.key(0)


def renewed_units(before, after):
    """By layer, the units whose incoming weights changed. Their biases and outgoing weights must be
    zero."""
    found = []
    for i, group in enumerate(before.units()):
        old, new = (np.asarray(m.layers[i].weight) for m in (before, after))
        units = np.flatnonzero((old != new).all(axis=1))
        # Other changes are in the outgoing weights of units of the previous layer.
        assert set(np.flatnonzero((old != new).any(axis=1))) in (set(units), set(range(group.size)))
        assert not np.asarray(after.layers[i].bias)[units].any()
        found.append(units.tolist())
    for i, units in enumerate(found):
        # A connection between two new units is an incoming weight of the later one.
        later = found[i + 1] if i + 1 < len(found) else []
        out = np.delete(np.asarray(after.layers[i + 1].weight), later, axis=0)
        assert not out[:, units].any()
    return found


def network(dead=()):
    """Two hidden layers; the units in `dead` of the first are silent whatever the input."""
    model = mlp(3, 2, width=8, depth=2)
    first = np.where(np.isin(np.arange(8), dead), -100, 0.1)
    return with_biases(model, first, np.full(8, 0.1))


def momentum_learner(model):
    """A learner with a momentum that is not zero."""
    optimiser = Optimiser(optax.sgd, learning_rate=0.1, momentum=0.9)
    return trained(learner_of(model, optimiser))


def with_biases(model, *biases):
    """The model with these biases of its hidden layers."""
    places = lambda m: [layer.bias for layer in m.layers[:-1]]
    return eqx.tree_at(places, model, [jnp.asarray(np.asarray(b, float)) for b in biases])


def assert_first_layer_renewed(before, after):
    old, new = (np.asarray(m.layers[0].weight) for m in (before, after))
    assert (old != new).all()
    assert all(np.isfinite(x).all() for x in arrays(after))


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape))


outputs_and_taps = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))


def test_redo_renews_the_dormant_units():
    model, inputs = network(dead=(2, 5)), normal(4, 16, 3)
    learner, transform = momentum_learner(model), ReDo(threshold=0.5, window=4)
    after, counted = after_step(transform, learner, inputs, 3, key=KEY)
    h = np.asarray(inputs).reshape(64, 3)
    expected = []
    for layer in model.layers[:-1]:
        h = np.maximum(h @ np.asarray(layer.weight).T + np.asarray(layer.bias), 0)
        score = np.abs(h).mean(0) / np.abs(h).mean()
        expected.append(np.flatnonzero(score <= 0.5).tolist())
    assert {2, 5} <= set(expected[0]) < set(range(8))
    assert renewed_units(model, after.model) == expected
    assert transform.measure(counted) == {"units_replaced": sum(map(len, expected))}
    first = np.asarray(after.optimiser.state[0].trace.layers[0].weight)
    assert np.flatnonzero((first == 0).all(axis=1)).tolist() == expected[0]

    dead = Learner(network(dead=range(8)), None, learner.optimiser)
    after, _ = after_step(transform, dead, inputs, 3, key=KEY)
    assert_first_layer_renewed(dead.model, after.model)


def test_redo_leaves_no_dormant_unit_and_keeps_the_function():
    """On its own window; only silent units are touched."""
    model, inputs = network(dead=(1, 4, 6)), normal(4, 16, 3)
    transform, learner = ReDo(threshold=0.0, window=4), momentum_learner(model)
    for key in jax.random.split(KEY):  # a newly drawn unit can happen to be silent too
        learner, _ = after_step(transform, learner, inputs, 3, key=key)
    examples = inputs.reshape(64, 3)
    (before, taps), (after, later) = (outputs_and_taps(m, examples) for m in (model, learner.model))
    silent = lambda taps: [int((np.asarray(t) == 0).all(0).sum()) for t in taps.values()]
    assert silent(taps)[0] == 3
    assert silent(later) == [0, 0]
    np.testing.assert_allclose(after, before, atol=1e-6)
    again, _ = after_step(transform, learner, inputs, 3, key=KEY)
    for a, b in zip(arrays(again), arrays(learner), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("density", [pytest.param(1.0, marks=pytest.mark.slow), 0.5])
def test_fresh_outgoing_weights(density):
    """Renewed units get the weights of a new network where a sparse layer has connections."""
    model = networks.mlp(KEY, width=8, density=density).model
    dead = np.isin(np.arange(8), (2, 5))
    model = with_biases(model, np.where(dead, -100, 5), np.full(8, 100))
    inputs, transform = normal(1, 16, 3), ReDo(threshold=0.0, outgoing="fresh")
    # This optimiser keeps a copy of the weights, which must change with them.
    optimiser = Optimiser(optax.contrib.schedule_free_sgd, learning_rate=0.1)

    @eqx.filter_jit
    def update(learner):
        none = jnp.zeros((), int)
        after, _ = transform.update(learner, none, signal_at(learner.model, inputs), key=KEY)
        fresh_key = jax.random.split(KEY, 3)[2]
        return after, fresh_parameters(learner.model, key=fresh_key).layers[1].weight

    after, fresh = update(learner_of(model, optimiser))
    for a, b in zip(arrays(after.model), arrays(after.optimiser.state.z), strict=True):
        np.testing.assert_array_equal(a, b)
    fresh, old = np.asarray(fresh), np.asarray(model.layers[1].weight)
    mask = np.asarray(model.layers[1].mask) if density < 1 else np.ones((8, 8), bool)
    np.testing.assert_array_equal(fresh != 0, mask)
    assert fresh[:, dead].any()
    np.testing.assert_array_equal(after.model.layers[1].weight, np.where(dead, fresh, old))
    for i in (1, 2):
        np.testing.assert_array_equal(after.model.layers[i].bias, model.layers[i].bias)
    np.testing.assert_array_equal(after.model.layers[2].weight, model.layers[2].weight)

    # Without a dormant unit nothing moves.
    alive = learner_of(with_biases(model, np.full(8, 5), np.full(8, 100)), optimiser)
    for a, b in zip(arrays(update(alive)[0]), arrays(alive), strict=True):
        np.testing.assert_array_equal(a, b)


def test_regrama_renews_units_with_small_gradients(float64):
    model, inputs = network(dead=(3,)), normal(2, 16, 3)
    transform = ReGraMa(threshold=0.4, window=2)
    after, _ = after_step(transform, learner_of(model), inputs, 1, key=KEY)
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

    dead = learner_of(network(dead=range(8)))
    after, _ = after_step(transform, dead, inputs, 1, key=KEY)
    assert_first_layer_renewed(dead.model, after.model)


def test_a_unit_that_nearly_always_fires_is_kept():
    """Its silences are short, and most are as long as the present one. Two firings in succession
    end no silence; counted as silences of length zero, they would make each of these look rare. The
    reference counts the ages after which the unit fires, except zero, as the authors' code does."""
    fires = np.random.default_rng(0).random(20_000) < 0.99
    transform = SelfNormalizedReset(rejection_level=0.02)
    model = mlp(3, 1, width=1, depth=1)
    signal = signal_at(model, normal(1, 1, 3), taps={})

    @jax.jit
    def renewals(activity):
        def step(record, h):
            now = eqx.tree_at(lambda s: s.taps, signal, {"hidden_0": h[None, None]})
            record = transform._observed(record, model.units()[0], now)
            return record, transform._too_silent(record)

        (record,) = transform.init(learner_of(model), key=KEY)
        return jax.lax.scan(step, record, activity)[1]

    due = np.asarray(renewals(jnp.asarray(fires, float))).ravel()
    age, past, expected = 0, [], []
    for fired in fires:
        if fired:
            past += [age] * (age > 0)
        age = 0 if fired else age + 1
        as_long = sum(a >= age for a in past)
        expected.append(age > 0 and 0.02 * len(past) >= 1 and as_long <= 0.02 * len(past))
    np.testing.assert_array_equal(due, expected)
    assert due.sum() <= 0.02 * len(past)


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_silences_match_a_count_in_python(batch):
    """Two units fire at random, one stops, one never fires and one always does."""
    model, rng = mlp(4, 1, width=5, depth=1), np.random.default_rng(0)
    steps, rejection_level, longest = 400, 0.1, 60
    fires = np.stack([rng.random(steps) < p for p in (0.5, 0.2, 0.7, 0.0, 1.0)], axis=1)
    fires[200:, 2] = False
    transform = SelfNormalizedReset(rejection_level=rejection_level, max_age=longest)
    learner, signal = learner_of(model), signal_at(model, normal(1, batch, 4), taps={})
    activity = np.zeros((steps, batch, 5), np.float32)
    activity[np.arange(steps), rng.integers(0, batch, steps)] = fires

    @jax.jit
    def run(arrays, activity):
        def step(carry, xs):
            old, state = carry
            now = eqx.tree_at(lambda s: s.taps, signal, {"hidden_0": xs[0]})
            after, state = transform.update(with_arrays(learner, old), state, now, key=xs[1])
            same = after.model.layers[0].weight == old.model.layers[0].weight
            return (arrays_of(after), state), ~jnp.all(same, axis=1)

        state = transform.init(learner, key=KEY)
        keys = jax.random.split(KEY, steps)
        last, reset = jax.lax.scan(step, (arrays, state), (activity, keys))
        return transform.measure(last[1]), reset

    measured, reset = run(arrays_of(learner), jnp.asarray(activity))
    reset = np.asarray(reset)
    assert measured["units_replaced"] == reset.sum() > 0

    edges = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56]
    age, past = [0] * 5, [[] for _ in range(5)]
    for t in range(steps):
        for i in range(5):
            if fires[t, i]:
                past[i] += [age[i]] * (age[i] > 0)  # two firings in succession end no silence
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
    assert not reset[:, 4].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReDo(threshold=-0.1), "`threshold` is -0.1"),
        (lambda: ReDo(threshold=0.1, window=0), "`window` is 0"),
        (lambda: ReGraMa(threshold=-0.1), "`threshold` is -0.1"),
        (lambda: ReGraMa(threshold=0.1, window=0), "`window` is 0"),
        (lambda: SelfNormalizedReset(rejection_level=0.0), "`rejection_level` is 0.0"),
        (
            lambda: SelfNormalizedReset(rejection_level=2.0),
            "`rejection_level` is 2.0, but must lie between 0 and 1",
        ),
        (lambda: SelfNormalizedReset(rejection_level=0.1, max_age=0), "`max_age` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_defaults_are_published():
    for transform, threshold in ((ReDo(), 0.025), (ReGraMa(), 0.01)):
        assert float(transform.threshold) == pytest.approx(threshold)
        assert (transform.window, transform.outgoing) == (1, "zero")


def test_an_unknown_name_of_outgoing_weights(monkeypatch):
    # The type checker of the tests would reject it first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="`outgoing`: Name 'random' does not exist"):
        ReDo(outgoing="random")  # pyright: ignore[reportArgumentType]
