"""The multilayer perceptron against NumPy, batches of examples, and dead and dormant units."""

import inspect

import equinox as eqx
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from networks import batch_norm, ByKey, mlp, shifted
from numpy_layers import dense

from spectral.models import apply_network, dead, dormant, MLP


KEY = jax.random.key(0)


def inputs(examples):
    return np.random.default_rng(0).normal(size=(examples, 3)).astype(np.float32)


def test_mlp_against_numpy():
    """A batch of two, and a batch of one, which is computed without a batch axis."""
    model = mlp(KEY, width=5, activation=jnp.tanh).model
    # Zero biases would hide a bias that is left out.
    model = shifted(model, 0.1)
    x = inputs(2)

    @eqx.filter_jit
    def both(model, x):
        batches = x, x[:1]
        return [apply_network(model, None, batch, inference=False) for batch in batches]

    for size, (outputs, aux) in zip((2, 1), both(model, jax.device_put(x)), strict=True):
        hidden_0 = np.tanh(dense(x[:size], model.layers[0]))
        hidden_1 = np.tanh(dense(hidden_0, model.layers[1]))
        assert list(aux.taps) == ["hidden_0", "hidden_1"]
        np.testing.assert_allclose(aux.taps["hidden_0"], hidden_0, rtol=1e-5)
        np.testing.assert_allclose(aux.taps["hidden_1"], hidden_1, rtol=1e-5)
        np.testing.assert_allclose(outputs, dense(hidden_1, model.layers[2]), rtol=1e-5)
        assert aux.model_state is None


def test_the_mlp_is_initialised_kaiming_uniform_with_zero_biases():
    model = eqx.filter_jit(lambda key: MLP(50, 10, width=400, depth=1, key=key))(KEY)
    for layer in model.layers:
        bound = np.sqrt(6 / layer.weight.shape[1])
        weight = np.asarray(layer.weight)
        assert np.abs(weight).max() <= bound
        assert np.abs(weight).max() > 0.99 * bound
        np.testing.assert_allclose(weight.var(), bound**2 / 3, rtol=0.05)
        assert not np.asarray(layer.bias).any()
    drawn = [np.asarray(layer.weight).ravel()[:5] for layer in model.layers]
    assert not np.allclose(drawn[0] / np.sqrt(6 / 50), drawn[1] / np.sqrt(6 / 400))


def test_fresh_has_the_same_shape_and_other_weights():
    model = mlp(KEY, width=5, activation=jnp.tanh, initialiser=ByKey()).model
    twin = eqx.filter_jit(lambda m: m.fresh(key=KEY))(model)
    assert jax.tree.structure(model) == jax.tree.structure(twin)
    for a, b in zip(model.layers, twin.layers, strict=True):
        assert a.weight.shape == b.weight.shape
        assert not np.allclose(a.weight, b.weight)


def test_the_default_is_the_network_of_the_paper():
    model = eqx.filter_eval_shape(lambda key: MLP(784, 10, key=key), KEY)
    widths = [layer.weight.shape for layer in model.layers]
    assert widths == [(1000, 784), (1000, 1000), (1000, 1000), (10, 1000)]
    assert all(activation.function is jax.nn.relu for activation in model.activations)


def test_activations_by_name():
    make = lambda activation: eqx.filter_eval_shape(
        lambda key: MLP(3, 2, width=5, depth=1, activation=activation, key=key), KEY
    )
    for name, function in (("relu", jax.nn.relu), ("tanh", jnp.tanh)):
        named, given = make(name), make(function)
        assert named.activations[0].function is function
        assert jax.tree.structure(named) == jax.tree.structure(given)
    with pytest.raises(ValueError, match="Name 'tahn' does not exist. Allowed: relu, tanh; did"):
        inspect.unwrap(MLP.__init__)(MLP, 3, 2, activation="tahn", key=KEY)


def test_depth_zero_is_a_linear_map():
    model = mlp(KEY, depth=0).model
    outputs, taps = model(jax.device_put(inputs(1)[0]))
    assert taps == {}
    assert model.units() == ()
    np.testing.assert_allclose(outputs, dense(inputs(1)[0], model.layers[0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 0}, "`width` is 0"), ({"depth": -1}, "`depth` is -1")],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(3, 2, **options, key=KEY)


def test_inputs_and_outputs_are_checked():
    model = mlp(KEY).model
    with pytest.raises(ValueError, match=r"`x` has shape \(4,\), but .* vectors of 3 numbers"):
        model(jax.device_put(np.ones(4)))
    with pytest.raises(TypeError, match=r"must return `\(outputs, taps\)` for one example"):
        eqx.filter_eval_shape(
            lambda x: apply_network(lambda x: x, None, x, inference=True), jax.device_put(inputs(2))
        )


def test_batch_norm_updates_its_statistics_in_training_only():
    model, state, _ = batch_norm(KEY)

    @eqx.filter_jit
    def states(model, state, x):
        runs = [apply_network(model, state, x, inference=inference) for inference in (False, True)]
        return [aux.model_state for _, aux in runs]

    trained, inferred = states(model, state, jax.device_put(inputs(8)))
    leaves = [jax.tree.leaves(s) for s in (state, trained, inferred)]
    assert any(not np.array_equal(a, b) for a, b in zip(leaves[0], leaves[1], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(leaves[0], leaves[2], strict=True))


@jax.jit
def dead_and_dormant(h):
    """Of a dense layer, and of two examples of two positions with the same activations."""
    spread = h.reshape(2, 2, 3).swapaxes(1, 2)
    return [(dead(x), dormant(x)) for x in (h, spread)]


activations = hnp.arrays(
    np.float32, (4, 3), elements=st.sampled_from([0.0, 0.0, 1e-6, 0.05, -1.0, 2.0])
)


@given(activations)
@example(np.array([[2, 0.05, 0]] * 4, np.float32))  # between 2.5 % of the mean and of the sum
@settings(deadline=None)
def test_dead_and_dormant_by_definition(h):
    count = [all(h[n, i] == 0 for n in range(4)) for i in range(3)]
    score = np.abs(h).mean(0)
    expected = score <= 0.025 * score.mean()
    for silent, marked in dead_and_dormant(h):
        assert np.asarray(silent).tolist() == count
        assert np.asarray(marked).tolist() == expected.tolist()
        assert np.asarray(marked)[np.asarray(count)].all()
