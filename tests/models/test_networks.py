"""The multilayer perceptron, batches, BatchNorm, and dead and dormant units."""

import inspect

import equinox as eqx
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from networks import batch_norm, ByKey, drawn, mlp
from signals import numpy_map

from spectral.models import apply_network, dead, dormant, MLP


KEY = jax.random.key(4)
RNG = np.random.default_rng(0)


@eqx.filter_jit
def applied(model, x):
    return model(x)


def test_the_mlp_matches_numpy():
    make = lambda key: MLP(3, 2, width=5, depth=2, activation=jnp.tanh, key=key)
    # Zero biases would hide a bias that is left out.
    model = numpy_map(lambda p: p + np.float32(0.1), drawn(make, KEY))
    x = RNG.normal(size=3).astype(np.float32)
    (w0, b0), (w1, b1), (w2, b2) = (
        (np.asarray(d.weight), np.asarray(d.bias)) for d in model.layers
    )
    hidden_0 = np.tanh(w0 @ x + b0)
    hidden_1 = np.tanh(w1 @ hidden_0 + b1)
    outputs, taps = applied(model, jnp.asarray(x))
    assert list(taps) == ["hidden_0", "hidden_1"]
    np.testing.assert_allclose(taps["hidden_0"], hidden_0, rtol=1e-5)
    np.testing.assert_allclose(taps["hidden_1"], hidden_1, rtol=1e-5)
    np.testing.assert_allclose(outputs, w2 @ hidden_1 + b2, rtol=1e-5)


def test_taps_are_in_the_order_of_numbers():
    names = ["block_2", "block_10", "b", "block_2_mlp", "a"]
    model = lambda x: (x, {name: x for name in names})
    _, aux = apply_network(model, None, jnp.ones((1, 2)), inference=True)
    assert list(aux.taps) == ["a", "b", "block_2", "block_2_mlp", "block_10"]


def test_initial_weights_are_kaiming_uniform_with_zero_biases():
    model = eqx.filter_jit(lambda key: MLP(50, 10, width=400, depth=1, key=key))(KEY)
    for layer in model.layers:
        bound = np.sqrt(6 / layer.weight.shape[1])
        weight = np.asarray(layer.weight)
        assert np.abs(weight).max() <= bound
        assert np.abs(weight).max() > 0.99 * bound
        np.testing.assert_allclose(weight.var(), bound**2 / 3, rtol=0.05)
        assert not np.asarray(layer.bias).any()
    first, second = (np.asarray(layer.weight).ravel()[:5] for layer in model.layers)
    assert not np.allclose(first / np.sqrt(6 / 50), second / np.sqrt(6 / 400))


def test_fresh_has_the_same_shape_and_other_weights():
    options = {"width": 5, "depth": 2, "activation": jnp.tanh, "initialiser": ByKey()}
    make = lambda key: MLP(3, 2, **options, key=key)
    model = drawn(make, KEY)
    twin = eqx.filter_jit(lambda model, key: model.fresh(key=key))(model, KEY)
    assert jax.tree.structure(model) == jax.tree.structure(twin)
    for a, b in zip(model.layers, twin.layers, strict=True):
        assert a.weight.shape == b.weight.shape
        assert not np.allclose(a.weight, b.weight)
    assert len({float(layer.weight[0, 0]) for layer in twin.layers}) == 3


def test_activations_by_name():
    make = lambda activation: eqx.filter_eval_shape(
        lambda key: MLP(3, 2, width=5, depth=1, activation=activation, key=key), KEY
    )
    for name, function in (("relu", jax.nn.relu), ("tanh", jnp.tanh)):
        # The structure holds the function.
        assert jax.tree.structure(make(name)) == jax.tree.structure(make(function))
    assert jax.tree.structure(make("relu")) != jax.tree.structure(make(jnp.tanh))
    with pytest.raises(ValueError, match="Name 'tahn' does not exist. Allowed: relu, tanh; did"):
        inspect.unwrap(MLP.__init__)(MLP, 3, 2, activation="tahn", key=KEY)


def test_depth_zero_is_a_linear_map():
    model = drawn(lambda key: MLP(3, 2, depth=0, key=key), KEY)
    outputs, taps = applied(model, jnp.asarray(np.ones(3, np.float32)))
    assert taps == {}
    assert model.units() == ()
    np.testing.assert_allclose(outputs, np.asarray(model.layers[0].weight).sum(1), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 0}, "`width` is 0"), ({"depth": -1}, "`depth` is -1")],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(3, 2, **options, key=KEY)


def test_a_batch_of_one_is_like_any_other():
    model = mlp(KEY, depth=1).model
    x = jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32)
    apply = lambda x: apply_network(model, None, x, inference=False)
    (both, aux), (one, aux_one) = jax.jit(lambda x: (apply(x), apply(x[:1])))(x)
    np.testing.assert_allclose(one, both[:1], rtol=1e-6)
    np.testing.assert_allclose(aux_one.taps["hidden_0"], aux.taps["hidden_0"][:1], rtol=1e-6)


def test_batch_norm_learns_statistics_in_training_only():
    model, state, _ = batch_norm(KEY)
    x = RNG.normal(size=(8, 3)).astype(np.float32)

    @eqx.filter_jit
    def states(model, state, x):
        result = [state.get(model.norm.statistics)]
        for inference in (False, True):
            _, aux = apply_network(model, state, x, inference=inference)
            assert aux.model_state is not None
            result.append(aux.model_state.get(model.norm.statistics))
        return result

    before, trained, inferred = states(model, state, jnp.asarray(x))
    z = x @ np.asarray(model.first.weight).T + np.asarray(model.first.bias)
    np.testing.assert_allclose(trained[0], 0.1 * z.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trained[1], 0.9 + 0.1 * z.var(0), rtol=1e-4)
    for a, b in zip(before, inferred, strict=True):
        np.testing.assert_array_equal(a, b)


activations = hnp.arrays(
    np.float32, (4, 3), elements=st.sampled_from([0.0, 0.0, 1e-6, 0.05, -1.0, 2.0])
)


@jax.jit
def marks(h):
    spread = h.reshape(2, 2, 3).swapaxes(1, 2)  # two examples of two positions
    return dead(h), dormant(h), dead(spread), dormant(spread)


@given(activations)
@example(np.array([[2, 0.05, 0]] * 4, np.float32))  # between 2.5 % of the mean and of the sum
@settings(deadline=None)
def test_dead_and_dormant_by_definition(h):
    count = [all(h[n, i] == 0 for n in range(4)) for i in range(3)]
    score = np.abs(h).mean(0)
    expected = score <= 0.025 * score.mean()
    silent, marked, *spread = (np.asarray(m) for m in marks(h))
    assert silent.tolist() == count
    assert marked.tolist() == expected.tolist()
    assert marked[silent].all()
    assert [m.tolist() for m in spread] == [count, expected.tolist()]


def test_the_defaults_of_an_mlp_match_the_paper():
    """Three hidden layers of 1000 units, as for Permuted MNIST."""
    model = eqx.filter_eval_shape(lambda key: MLP(784, 10, key=key), KEY)
    assert [layer.weight.shape for layer in model.layers] == [
        (1000, 784),
        (1000, 1000),
        (1000, 1000),
        (10, 1000),
    ]
