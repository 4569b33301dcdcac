"""Networks that are the same function at other weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import convnet
from signals import drawn, mlp

from spectral import models
from spectral.models import balanced, positively_homogeneous, rescaled


ACTIVATIONS = {
    "relu": (models.Elementwise(jax.nn.relu), True),
    "leaky": (models.Elementwise(jax.nn.leaky_relu), True),
    "crelu": (models.CReLU(), True),
    "aid": (models.AID(p=0.7), True),
    "tanh": (models.Elementwise(jnp.tanh), False),
    "gelu": (models.Elementwise(jax.nn.gelu), False),
    "fourier": (models.DeepFourier(), False),
    "pelu": (models.PELU(), False),
}


QUICK = ("relu", "crelu", "gelu")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ACTIVATIONS]
)
def test_which_activations_a_factor_passes_through(name):
    activation, expected = ACTIVATIONS[name]
    assert positively_homogeneous(activation) is expected


def norms(model, kinds):
    rows = [np.asarray(e.by_unit(e.read(model))) for e in kinds]
    return np.linalg.norm(np.concatenate(rows, axis=1), axis=1)


def unit_norms(model):
    """For each layer the norms of what goes into its units, and of what goes out."""
    groups = models.unit_groups(model)
    inner = lambda g: g.scale + g.shift or g.incoming + g.bias
    return [(norms(model, inner(g)), norms(model, g.outgoing)) for g in groups]


outputs = eqx.filter_jit(lambda model, x: jax.vmap(lambda x: model(x)[0])(x))
in_program = eqx.filter_jit(balanced)


def as_before(model, x):
    """The balanced network, which has the same outputs."""
    after = in_program(model)
    np.testing.assert_allclose(outputs(after, x), outputs(model, x), rtol=2e-5, atol=2e-6)
    return after


where = lambda m: [p for layer in m.layers for p in (layer.weight, layer.bias)]
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


@pytest.mark.slow
def test_balancing_one_layer_gives_the_geometric_mean():
    model = mlp(3, 2, width=4, depth=1)
    into, bias, out = (np.array(p) for p in where(model)[:3])
    # One unit without incoming and one without outgoing weights.
    into[1], bias[1], out[:, 3] = 0, 0, 0
    model = eqx.tree_at(lambda m: where(m)[:3], model, [*map(jnp.asarray, (into, bias, out))])
    ((a, z),) = unit_norms(model)
    after = as_before(model, INPUTS)
    ((inner, outer),) = unit_norms(after)
    np.testing.assert_allclose(inner[[0, 2]], np.sqrt(a * z)[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(outer[[0, 2]], np.sqrt(a * z)[[0, 2]], rtol=1e-6)
    assert (inner[1], outer[1], inner[3], outer[3]) == (0, z[1], a[3], 0)


def test_balancing_does_not_depend_on_the_factors_of_units():
    model = mlp(3, 2, width=4, depth=2)
    # One unit without incoming and one without outgoing weights.
    (into, bias), out = map(np.array, where(model)[:2]), np.array(where(model)[2])
    into[3], bias[3], out[:, 2] = 0, 0, 0
    model = eqx.tree_at(lambda m: where(m)[:3], model, [*map(jnp.asarray, (into, bias, out))])
    factors = {"hidden_0": jnp.array([0.25, 64.0, 1.0, 1.0]), "hidden_1": jnp.full(4, 1 / 16)}
    moved = rescaled(model, factors)
    # Powers of two change no output by a bit.
    np.testing.assert_array_equal(outputs(moved, INPUTS), outputs(model, INPUTS))
    bias = np.asarray(factors["hidden_0"]) * np.asarray(model.layers[0].bias)
    np.testing.assert_array_equal(moved.layers[0].bias, bias)
    first, second = as_before(model, INPUTS), in_program(moved)
    for one, other in zip(first.layers, second.layers, strict=True):
        np.testing.assert_allclose(one.weight, other.weight, rtol=2e-5, atol=1e-6)
    (one, before), (two, after) = unit_norms(first)
    np.testing.assert_allclose(np.append(one[:2], two), np.append(before[:2], after), rtol=5e-6)
    assert one[3] == before[2] == 0
    # The smallest norm of the family.
    sizes = [sum(np.sum(np.asarray(p) ** 2) for p in where(m)) for m in (first, model, moved)]
    assert sizes == sorted(sizes)


SIZES: dict[str, Any] = {"channels": (3, 2), "kernels": (3, 3), "dense_sizes": (4,)}
NETWORKS = {
    "crelu": lambda key: models.MLP(3, 2, width=4, activation=models.CReLU(), depth=2, key=key),
    "sparse": lambda key: models.MLP(3, 2, width=4, depth=2, density=0.6, key=key),
    "normalised": lambda key: models.MLP(3, 2, width=4, depth=2, layer_norm=True, key=key),
    "two_heads": lambda key: models.ActorCritic(3, 2, width=4, depth=1, discrete=True, key=key),
    "adalin": lambda key: models.MLP(3, 2, width=4, activation=models.AdaLin(), depth=1, key=key),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_balancing_other_networks(name):
    key = jax.random.key(0)
    model = NETWORKS[name](key) if name in ("sparse", "adalin") else drawn(NETWORKS[name])

    @eqx.filter_jit
    def outputs(model):
        found = jax.vmap(lambda x: eqx.nn.inference_mode(model)(x)[0])(INPUTS)
        return jnp.concatenate([x.reshape(5, -1) for x in jax.tree.leaves(found)], 1)

    after = in_program(model)
    np.testing.assert_allclose(outputs(after), outputs(model), rtol=5e-5, atol=5e-6)
    for inner, outer in unit_norms(after):
        exist = (inner > 0) & (outer > 0)
        assert exist.any()
        np.testing.assert_allclose(inner[exist], outer[exist], rtol=5e-6)


@pytest.mark.slow
def test_balancing_a_convolutional_network():
    model, _, shape = convnet(jax.random.key(1), padding="valid", **SIZES)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, *shape)), jnp.float32)
    after = as_before(model, x)
    for inner, outer in unit_norms(after):
        np.testing.assert_allclose(inner, outer, rtol=5e-6)
    assert models.weight_norm(after) < models.weight_norm(model)


def test_what_a_scaling_moves():
    """The tangent kernel of f = w2 relu(w1 x) at (1, 1) and at (2, 1/2), on x = 1 and 2."""
    model = mlp(1, 1, width=1, depth=1)
    ones = [jnp.ones((1, 1)), jnp.zeros(1), jnp.ones((1, 1)), jnp.zeros(1)]
    model = eqx.tree_at(where, model, ones)
    other = rescaled(model, {"hidden_0": jnp.array([2.0])})
    weights = lambda m: [float(layer.weight[0, 0]) for layer in m.layers]
    assert weights(other) == [2, 0.5]

    def kernel(w1, w2):
        rows = np.array([[w2 * x, w1 * x] for x in (1, 2)])
        return rows @ rows.T

    np.testing.assert_array_equal(kernel(*weights(model)), [[2, 4], [4, 8]])
    np.testing.assert_array_equal(kernel(*weights(other)), 2.125 * kernel(1, 1))


def test_wrong_arguments():
    model = mlp(3, 2, width=4, depth=1)
    for name, match in (("tanh", "has the activation .*tanh"), ("gelu", "has the activation")):
        activation, _ = ACTIVATIONS[name]
        curved = mlp(3, 2, width=4, depth=1, activation=activation)
        for change in (balanced, lambda m: rescaled(m, {})):
            with pytest.raises(ValueError, match=match):
                change(curved)
    with pytest.raises(ValueError, match="`factors`: Layer 'hidden_1' does not exist"):
        rescaled(model, {"hidden_1": jnp.ones(4)})
    with pytest.raises(ValueError, match=r"`factors\['hidden_0'\]` has shape \(3,\).* 4 units"):
        rescaled(model, {"hidden_0": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"`factors\['hidden_0'\]` is .*above 0"):
        rescaled(model, {"hidden_0": jnp.array([1.0, 1.0, -1.0, 1.0])})
    with pytest.raises(ValueError, match="is a Linear without activations as fields"):
        balanced(eqx.nn.Linear(2, 1, key=jax.random.key(0)))
