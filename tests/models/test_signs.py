"""Signs of lost plasticity against numbers computed by hand and by NumPy."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import mlp

from spectral import models
from spectral.models import (
    active_fraction,
    dead,
    feature_ranks,
    frozen,
    linearised,
    representation_change,
    saturated,
    sign_entropy,
    twins,
    twins_by_weights,
    twins_on_data,
)


# Two examples with two positions of four units: dead, linear on the data, 1/4 and 2/4 active.
PRE = [[[-1, 0], [1, 2], [-1, 3], [1, -1]], [[-2, -3], [3, 4], [-1, -2], [-1, 2]]]
# Activations of four examples. One gradient of the first unit is large. The last is dead but read.
H = [[1.0, 100.0, 1.0, 0.0]] * 4
G = [[1e-5, 1e-3, 1e-3, 1e-3]] * 3 + [[1.0, 1e-3, 1e-3, 1e-3]]
COLUMNS = [[1.0, 2.0, 1.0], [2.0, 4.0, 0.0]]
IMAGES = [[[1, 2], [2, 4]], [[0, 3], [3, 0]]]
# Of three equal units two count. Zeros and opposites do not.
ROWS = [[1, 1], [1, 1], [1, 1], [-1, -1], [0, 0], [0, 0]]
# An orthogonal factor on the left changes no rank that is not centred.
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0][:, :2]
TWO_ONE, UNEVEN = TURN * [2.0, 1.0], TURN * [1.0, 0.05]
MATRICES = [TWO_ONE, 1e-25 * TWO_ONE, 1e25 * TWO_ONE, UNEVEN, 0 * TURN, np.nan * TURN]
BEFORE, NOW = [[3, 0], [0, 2], [0, 0]], [[3, 4], [0, 2], [5, 5]]
KERNEL = np.random.default_rng(0).normal(size=(3, 2, 2, 2))


@functools.cache
def computed():
    """All signs in one program."""
    given = {"pre": PRE, "h": H, "g": G, "columns": COLUMNS, "images": IMAGES, "rows": ROWS}
    given |= {"matrices": MATRICES, "before": BEFORE, "now": NOW, "kernel": KERNEL}
    given = {name: np.asarray(value, np.float32) for name, value in given.items()}
    nets = pair([1.0, 2.0]), pair([1.0, 5.0])

    @eqx.filter_jit
    def all_signs(x, nets):
        pre, h, g, rows, before, now = (x[n] for n in ("pre", "h", "g", "rows", "before", "now"))
        after = jnp.maximum(pre, 0)
        return {
            "linearised": linearised(pre),
            "active": active_fraction(after),
            "entropy": sign_entropy(pre),
            "frozen": frozen((pre > 0).astype(float)),
            "dead": dead(after),
            "saturated": [saturated(h, g), saturated(h, g, fraction=0.7), saturated(h, g / 100)],
            "on_data": [twins_on_data(x["columns"]), twins_on_data(x["images"])],
            "parallel": [twins(x["columns"].T, threshold=0.44), twins(rows), twins(1e-25 * rows)],
            "equal": [twins(x["columns"].T, scaled=False), twins(rows, scaled=False)],
            "ranks": jax.vmap(feature_ranks)(x["matrices"]),
            "change": [
                representation_change(*both)
                for both in ((now, before), (1e-30 * now, 1e-30 * before), (now, 0 * before))
            ],
            "singular": models.largest_singular_values(nets[0]),
            "kernel": models.largest_singular_values({"k": x["kernel"], "b": before[0]}),
            "distance": models.weight_distance(*nets),
            "norm": models.weight_norm(nets[0]),
            "magnitude": models.mean_weight_magnitude(nets[0]),
        }

    return jax.tree.map(np.asarray, all_signs(given, nets))


def test_positions_are_samples_of_the_gates():
    found = computed()
    assert found["linearised"].tolist() == [False, True, False, False]
    np.testing.assert_allclose(found["active"], [0, 1, 0.25, 0.5])
    # Entropies in bits of p = 0, 1, 1/4, 1/2.
    np.testing.assert_allclose(found["entropy"], [0, 0, 0.8112781, 1], atol=1e-6)
    assert found["frozen"].tolist() == found["dead"].tolist() == [True, False, False, False]


def test_a_saturated_tanh_is_frozen_and_not_dead():
    model = mlp(2, 1, width=2, depth=1, activation="tanh")
    pre = np.array([[30.0, 1.0], [-40.0, 30.0]], np.float32)

    @jax.jit
    def of(pre):
        derivatives = models.activation_derivatives(model, {"hidden_0": pre})["hidden_0"]
        return derivatives, frozen(derivatives), dead(jnp.tanh(pre))

    derivatives, marked, none = of(pre)
    np.testing.assert_allclose(derivatives, [[0, 1 - np.tanh(1) ** 2], [0, 0]], atol=1e-6)
    assert (marked.tolist(), none.tolist()) == ([True, False], [False, False])


def test_saturation_compares_gradients_with_the_size_of_the_unit():
    given, few, batch = computed()["saturated"]
    assert given.tolist() == [False, True, False, False]
    assert few.tolist() == [True, True, False, False]
    assert batch.tolist() == [False, True, True, False]  # as if of a batch of 100 examples


def test_twins():
    columns, images = computed()["on_data"]
    assert np.mean(columns) == pytest.approx(1 / 3)  # the other cosine is 0.447
    assert images.tolist() == [False, False]
    loose, rows, small = computed()["parallel"]
    assert loose.tolist() == [True, True, False]
    assert rows.tolist() == small.tolist() == [True, True, False, False, False, False]
    doubled, equal = computed()["equal"]
    assert (doubled.any(), equal.tolist()) == (False, rows.tolist())


def pair(outgoing):
    """Two ReLUs with the incoming weights (1, 0) and (2, 0)."""
    model = mlp(2, 1, width=2, depth=1)
    where = lambda m: [p for layer in m.layers for p in (layer.weight, layer.bias)]
    values = [[[1.0, 0.0], [2.0, 0.0]], [0.0, 0.0], [outgoing], [0.0]]
    return eqx.tree_at(where, model, [jnp.array(v) for v in values])


@eqx.filter_jit
def twin_marks(model):
    """Twins of a pair by both criteria, and the same after one step on the output as loss."""
    group = model.units()[0]
    mark = lambda m, both: twins_by_weights(m, group, outgoing=both, threshold=0.999)[0]
    marks = lambda m: [mark(m, False), mark(m, True)]
    gradient = eqx.filter_grad(lambda m: m(jnp.ones(2))[0][0])(model)
    after = eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, gradient))
    equal = twins_by_weights(model, group, scaled=False)[0]
    return marks(model), marks(after), after.layers[0].weight, equal


def test_only_twins_by_incoming_and_outgoing_weights_stay_under_gradient_descent():
    for outgoing, rows, stay in (
        ([1.0, 2.0], [[0.9, -0.1], [1.8, -0.2]], True),
        ([1.0, 1.0], [[0.9, -0.1], [1.9, -0.1]], False),
    ):
        before, after, weight, equal = twin_marks(pair(outgoing))
        assert list(map(bool, before)) == [True, stay]
        assert list(map(bool, after)) == [stay, stay]
        np.testing.assert_allclose(weight, rows, rtol=1e-6)
        assert not equal  # one is twice the other, which tanh would see
    opposite = twin_marks(pair([1.0, -2.0]))[0]
    assert list(map(bool, opposite)) == [True, False]
    normalised = mlp(2, 1, width=2, depth=1, layer_norm=True)
    with pytest.raises(ValueError, match="`group` is the layer 'hidden_0', which is normalised"):
        twins_by_weights(normalised, normalised.units()[0])


def test_ranks_of_one_matrix_by_all_definitions():
    found = computed()["ranks"]
    expected = {
        "feature_effective_rank": 1.890,
        "squared_effective_rank": 1.649,
        "participation": 1.471,
        "feature_stable_rank": 1.25,
        "srank99": 2,
        "energy99": 2,
    }
    s = np.linalg.svd(TWO_ONE - TWO_ONE.mean(0), compute_uv=False) ** 2
    expected["centred_participation"] = s.sum() ** 2 / (s**2).sum()
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][:3], value, rtol=5e-4, err_msg=name)
        assert found[name][4] == 0, name
        assert np.isnan(found[name][5]), name
    # 99 % of the sum needs another direction than 99 % of the energy.
    assert (found["srank99"][3], found["energy99"][3]) == (2, 1)


def test_representation_change():
    moved, small, unknown = computed()["change"]
    np.testing.assert_allclose([moved, small], (4 / 3 + 0) / 2, rtol=1e-6)
    assert np.isnan(unknown)


def test_norms_of_weights():
    found = computed()
    np.testing.assert_allclose(found["singular"], [5**0.5, 5**0.5], rtol=1e-6)
    kernel = np.linalg.norm(KERNEL.reshape(3, 8), 2)
    np.testing.assert_allclose(found["kernel"], [kernel], rtol=1e-6)
    np.testing.assert_allclose(found["distance"], 3, rtol=1e-6)
    np.testing.assert_allclose(found["norm"], 10**0.5, rtol=1e-6)
    np.testing.assert_allclose(found["magnitude"], 6 / 9, rtol=1e-6)


@pytest.mark.slow
def test_offsets_are_added_after_the_activation():
    model, offset = pair([1.0, 2.0]), jnp.array([0.5, -3.0])
    out, taps = models.with_offsets(model, {"hidden_0": offset})(jnp.ones(2))
    np.testing.assert_allclose(taps["hidden_0"], [1.5, -1.0])
    np.testing.assert_allclose(out, [1.5 - 2.0])


def test_offsets_need_units():
    with pytest.raises(TypeError, match="without a method `units"):
        models.with_offsets({"weight": jnp.ones(2)}, {})
