"""The utilities of units, and the facts that they are computed from."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import after_step, drawn, learner_of, mlp

from spectral import algorithms, models
from spectral.algorithms import ContinualBackprop
from spectral.algorithms._base._unit_groups import incoming_and_outgoing
from spectral.algorithms.transforms.units._continual_backprop import UnitRecord
from spectral.algorithms.transforms.units._utilities import UnitFacts


KEY = jax.random.key(0)

# o, w, h, d: outgoing weight, incoming weight, activity and deviation.
UTILITIES = {
    "contribution": lambda o, w, h, d: o * h,
    "zero_contribution": lambda o, w, h, d: o * d,
    "adaptable_contribution": lambda o, w, h, d: o * d / w,
    "adaptation": lambda o, w, h, d: 1 / w,
    "outgoing_weight": lambda o, w, h, d: o,
    "feature_by_input": lambda o, w, h, d: d / w,
}


@jax.jit
def utilities_of(facts):
    return {name: getattr(algorithms, name)(facts) for name in UTILITIES}


def facts_of(outgoing, incoming, activity, deviation):
    values = {"outgoing": outgoing, "incoming": incoming}
    values |= {"activity": activity, "deviation": deviation}
    values |= {"weighted_activity": outgoing * activity, "weighted_deviation": outgoing * deviation}
    return UnitFacts(**{name: jnp.asarray(x) for name, x in values.items()}, key=KEY)


def test_utilities_match_their_formulas():
    facts = np.random.default_rng(0).random((4, 4)) + 0.1
    found = utilities_of(facts_of(*facts))
    for name, formula in UTILITIES.items():
        np.testing.assert_allclose(found[name], formula(*facts), rtol=1e-5, err_msg=name)


def test_a_dead_unit_without_weights_has_a_finite_utility():
    """0 * inf would be NaN, and select the wrong unit."""
    for name, utility in utilities_of(facts_of(*np.zeros((4, 4)))).items():
        assert np.isfinite(utility).all(), name


def test_facts_match_numpy():
    """Means over the minibatch; deviations are from the bias-corrected running mean."""
    model = mlp(3, 2, width=4, depth=1)
    h = np.random.default_rng(1).normal(size=(8, 4)).astype("f")
    names = ("activity", "deviation", "incoming", "outgoing")

    @jax.jit
    def facts(h):
        ((into, out),) = incoming_and_outgoing(model.units(), model)
        found = {}
        for name in names:
            utility = lambda facts, name=name: getattr(facts, name)
            transform = ContinualBackprop(0.0, utility=utility, decay=0.5)
            (record,) = transform.init(learner_of(model), key=KEY)
            for _ in range(2):
                record = transform._observed(record, h[:, :, None], into, out, None, key=KEY)
            found[name] = record.utility / 0.75
        return found

    into, out = (np.asarray(layer.weight) for layer in model.layers)
    expected = [np.abs(h).mean(0), np.abs(h - h.mean(0)).mean(0)]
    expected += [np.abs(into).mean(1), np.abs(out).mean(0)]
    found = facts(jnp.asarray(h))
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def several(facts):
    found = [algorithms.contribution, algorithms.zero_contribution, algorithms.feature_by_input]
    worths = (10**i * utility(facts) for i, utility in enumerate(found))
    return sum(worths, jnp.zeros(3))


@pytest.mark.parametrize(
    ("activation", "copies"), [("relu", 1), pytest.param(models.CReLU(), 2, marks=pytest.mark.slow)]
)
def test_channels_are_judged_by_what_the_next_layer_sees(activation, copies):
    """The maxima of blocks of 2 x 2 pixels, each of which the dense layer weights by itself."""
    options: Any = {"channels": (3,), "kernels": (2,), "dense_sizes": (), "padding": "valid"}
    make = lambda key: models.ConvNet((1, 5, 6), 2, activation=activation, **options, key=key)
    model = drawn(make, seed=1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 1, 5, 6)))
    transform = ContinualBackprop(0.0, utility=several, decay=0.5)
    _, (record,) = after_step(transform, learner_of(model), x, key=KEY)

    kernel, weight = (np.asarray(m.weight) for m in (model.convolutions[0], model.dense[0]))
    views = np.lib.stride_tricks.sliding_window_view(np.asarray(x)[0, :, 0], (2, 2), axis=(1, 2))
    tap = np.einsum("nhwij,cij->nchw", views, kernel[:, 0])
    tap += np.asarray(model.convolutions[0].bias).reshape(3, 1, 1)
    tap = np.maximum(np.stack([tap, -tap][:copies], 1), 0)
    h = tap[..., :4, :4].reshape(16, copies, 3, 2, 2, 2, 2).max((4, 6)).reshape(16, copies, 3, 4)
    f = h.mean((0, 3))
    np.testing.assert_allclose(np.asarray(record.mean) / 0.5, f.T, rtol=1e-4)
    out, into = np.abs(weight).reshape(2 * copies, 3, 4).mean(0), np.abs(kernel).mean((1, 2, 3))
    size, deviation = np.abs(h).mean((0, 1)), np.abs(h - f[:, :, None]).mean((0, 1))
    expected = (out * size).mean(1) + 10 * (out * deviation).mean(1)
    expected += 100 * deviation.mean(1) / into
    np.testing.assert_allclose(np.asarray(record.utility) / 0.5, expected, rtol=1e-4)


def test_random_utilities_rank_by_the_present_draw():
    """Each of ten units is the lowest in a tenth of all steps, also a young one, whose running mean
    would vary more than those of the others."""
    transform = ContinualBackprop(0.0, utility=algorithms.random_utility)
    age = np.array([101] + [10_000] * 9)
    record = UnitRecord(
        age=jnp.asarray(age),
        mean=jnp.zeros((10, 1)),
        utility=jnp.asarray((1 - 0.99**age) / 2),
        pending=jnp.asarray(0),
        remainder=jnp.asarray(0.0),
        replaced=jnp.asarray(0),
    )
    weights = jnp.ones(10)

    @jax.jit
    @jax.vmap
    def lowest(key):
        after = transform._observed(record, jnp.ones((1, 10, 1)), weights, weights, None, key=key)
        facts = eqx.tree_at(lambda f: f.key, facts_of(*np.ones((4, 10))), key)
        draw, chosen = algorithms.random_utility(facts), transform._lowest(after, jnp.asarray(1))
        return chosen, after.utility / (1 - 0.99**after.age), draw

    chosen, ranking, draw = lowest(jax.random.split(KEY, 20_000))
    np.testing.assert_allclose(np.asarray(chosen).mean(0), 0.1, atol=0.01)
    np.testing.assert_allclose(ranking, draw, rtol=1e-4)
