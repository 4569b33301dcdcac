import inspect

import equinox as eqx
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from hypothesis import example, given, settings

from spectral.models import apply_network, dead, dormant, MLP


def test_the_mlp_computes_what_it_says(getkey):
    model = MLP(3, 2, width=5, depth=2, activation=jnp.tanh, key=getkey())
    x = jax.random.normal(getkey(), (3,))
    # Zero biases would hide a bias that is left out.
    model = jax.tree.map(lambda p: p + 0.1 if eqx.is_inexact_array(p) else p, model)
    (w0, b0), (w1, b1), (w2, b2) = (
        (np.asarray(d.weight), np.asarray(d.bias)) for d in model.layers
    )
    hidden_0 = np.tanh(w0 @ x + b0)
    hidden_1 = np.tanh(w1 @ hidden_0 + b1)
    outputs, taps = model(x)
    assert list(taps) == ["hidden_0", "hidden_1"]
    np.testing.assert_allclose(taps["hidden_0"], hidden_0, rtol=1e-5)
    np.testing.assert_allclose(taps["hidden_1"], hidden_1, rtol=1e-5)
    np.testing.assert_allclose(outputs, w2 @ hidden_1 + b2, rtol=1e-5)


def test_the_mlp_begins_kaiming_uniform_with_zero_biases(getkey):
    model = MLP(50, 10, width=400, depth=2, key=getkey())
    for layer in model.layers:
        bound = np.sqrt(6 / layer.weight.shape[1])
        weight = np.asarray(layer.weight)
        assert np.abs(weight).max() <= bound
        assert np.abs(weight).max() > 0.99 * bound
        np.testing.assert_allclose(weight.var(), bound**2 / 3, rtol=0.05)
        assert not np.asarray(layer.bias).any()
    drawn = [np.asarray(layer.weight).ravel()[:5] for layer in model.layers]
    assert not np.allclose(drawn[0] / np.sqrt(6 / 50), drawn[1] / np.sqrt(6 / 400))


def test_fresh_has_the_same_shape_and_other_weights(getkey):
    model = MLP(3, 2, width=5, depth=2, activation=jnp.tanh, key=getkey())
    twin = model.fresh(key=getkey())
    assert jax.tree.structure(model) == jax.tree.structure(twin)
    for a, b in zip(model.layers, twin.layers, strict=True):
        assert a.weight.shape == b.weight.shape
        assert not np.allclose(a.weight, b.weight)


def test_activations_by_name(getkey):
    key = getkey()
    x = jnp.linspace(-1, 1, 3)
    pairs = (
        (MLP(3, 2, width=5, depth=1, activation="relu", key=key), jax.nn.relu),
        (MLP(3, 2, width=5, depth=1, activation="tanh", key=key), jnp.tanh),
    )
    for named, function in pairs:
        given = MLP(3, 2, width=5, depth=1, activation=function, key=key)
        assert jax.tree.structure(named) == jax.tree.structure(given)
        np.testing.assert_array_equal(named(x)[0], given(x)[0])
    with pytest.raises(ValueError, match="Name 'tahn' does not exist. Allowed: relu, tanh; did"):
        inspect.unwrap(MLP.__init__)(MLP, 3, 2, activation="tahn", key=key)


def test_depth_zero_is_a_linear_map(getkey):
    model = MLP(3, 2, depth=0, key=getkey())
    outputs, taps = model(jnp.ones(3))
    assert taps == {}
    assert model.units() == ()
    np.testing.assert_allclose(outputs, model.layers[0].weight.sum(1), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 0}, "`width` is 0"), ({"depth": -1}, "`depth` is -1")],
)
def test_sizes_are_checked(options, message, getkey):
    with pytest.raises(ValueError, match=message):
        MLP(3, 2, **options, key=getkey())


def test_a_batch_of_one_is_like_any_other(getkey):
    model = MLP(3, 2, width=4, depth=1, key=getkey())
    x = jax.random.normal(getkey(), (2, 3))
    both, aux = apply_network(model, None, x, inference=False)
    one, aux_one = apply_network(model, None, x[:1], inference=False)
    np.testing.assert_allclose(one, both[:1], rtol=1e-6)
    np.testing.assert_allclose(aux_one.taps["hidden_0"], aux.taps["hidden_0"][:1], rtol=1e-6)


def test_batch_norm_learns_statistics_in_training_only(getkey):
    model, state = eqx.nn.make_with_state(BatchNormNetwork)(key=getkey())
    x = jax.random.normal(getkey(), (8, 3))
    _, trained = apply_network(model, state, x, inference=False)
    _, inferred = apply_network(model, state, x, inference=True)
    leaves = [jax.tree.leaves(s) for s in (state, trained.model_state, inferred.model_state)]
    assert any(not np.array_equal(a, b) for a, b in zip(leaves[0], leaves[1], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(leaves[0], leaves[2], strict=True))


activations = hnp.arrays(
    np.float32, (4, 3), elements=st.sampled_from([0.0, 0.0, 1e-6, 0.05, -1.0, 2.0])
)


@given(activations)
@example(np.array([[2, 0.05, 0]] * 4, np.float32))  # between 2.5 % of the mean and of the sum
@settings(deadline=None)
def test_dead_and_dormant_by_definition(h):
    count = [all(h[n, i] == 0 for n in range(4)) for i in range(3)]
    assert np.asarray(dead(jnp.asarray(h))).tolist() == count
    score = np.abs(h).mean(0)
    expected = score <= 0.025 * score.mean()
    marked = np.asarray(dormant(jnp.asarray(h)))
    assert marked.tolist() == expected.tolist()
    assert marked[np.asarray(count)].all()
    spread = jnp.asarray(h).reshape(2, 2, 3).swapaxes(1, 2)  # two examples of two positions
    assert np.asarray(dead(spread)).tolist() == count
    assert np.asarray(dormant(spread)).tolist() == expected.tolist()
