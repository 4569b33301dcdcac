"""Activations, layer norm and sparse layers against NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import convnet, drawn, mlp

from spectral import Optimiser
from spectral.models import connected, CReLU, DeepFourier, MLP, PELU, Rational, Sparse


KEY = jax.random.key(0)
X = np.linspace(-3, 3, 601)


def pelu(a, b):
    return np.where(X >= 0, a / b * X, a * (np.exp(X / b) - 1))


def test_activations_match_their_formulas():
    p, q = np.array([0.3, -1, 0.5, 2, -0.1, 0.2]), np.array([0.7, -2, 0.1, 0.4])
    below = 1 + np.abs(np.polynomial.Polynomial([0, *q])(X))
    moved_pelu = eqx.tree_at(lambda m: (m.log_a, m.log_b), PELU(), tuple(np.log([2, 0.5])))
    moved_rational = eqx.tree_at(lambda r: (r.numerator, r.denominator), Rational(), (p, q))
    cases = [
        (CReLU(), np.concatenate([np.maximum(X, 0), np.maximum(-X, 0)]), 1e-6),
        (DeepFourier(), np.concatenate([np.sin(X), np.cos(X)]), 1e-6),
        (PELU(), pelu(1, 1), 1e-5),
        (moved_pelu, pelu(2, 0.5), 1e-5),
        (Rational(), np.where(X > 0, X, 0.01 * X), 0.04),  # initially a fit of leaky ReLU
        (moved_rational, np.polynomial.Polynomial(p)(X) / below, 1e-4),
    ]

    @eqx.filter_jit
    def applied(activations, x):
        return [(f(x), f(jnp.stack([x, -x]))) for f in activations]

    found = applied([case[0] for case in cases], jnp.asarray(X, jnp.float32))
    for (activation, expected, tolerance), (one, several) in zip(cases, found, strict=True):
        np.testing.assert_allclose(one, expected, atol=tolerance)
        assert one.shape == (activation.copies * X.size,)
        # Also at several positions; X is symmetric.
        mirrored = np.asarray(one).reshape(activation.copies, -1)[:, ::-1].ravel()
        np.testing.assert_allclose(several, [one, mirrored], rtol=1e-5, atol=1e-5)


def test_each_layer_learns_its_own_parameters():
    networks = [mlp(KEY, activation=activation).model for activation in (PELU(), Rational())]
    x = jnp.array([1e3, -2.0, 0.5])  # where an exponential in the wrong branch would overflow

    @eqx.filter_jit
    def learnt(networks):
        grads = [eqx.filter_grad(lambda m: jnp.sum(m(x)[0] ** 2))(m) for m in networks]
        moved = map(eqx.apply_updates, networks, grads)
        return [g.activations for g in grads], [m.fresh(key=KEY).activations for m in moved]

    grads, fresh = learnt(networks)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(grads)]
    assert len(leaves) == 2 * 2 + 2 * 2
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in leaves)
    for network, activations in zip(networks, fresh, strict=True):
        again = eqx.filter_eval_shape(lambda m: m.fresh(key=KEY), network)
        assert jax.tree.structure(again) == jax.tree.structure(network)
        old, new = (jax.tree.leaves(a) for a in (network.activations, activations))
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)


def test_layer_norm_normalises_the_units_before_the_activation():
    """In a convolution it normalises the channels, separately at each position."""
    model = mlp(KEY, layer_norm=True).model
    scale, shift = np.arange(4.0, dtype=np.float32), np.ones(4, np.float32)
    model = eqx.tree_at(lambda m: (m.norms[0].weight, m.norms[0].bias), model, (scale, shift))
    images = convnet(KEY, layer_norm=True).model
    x = np.array([1.0, 2.0, -1.0], np.float32)
    image = np.random.default_rng(0).normal(size=images.in_shape).astype(np.float32)

    @eqx.filter_jit
    def taps(model, images, x, image):
        return model(x)[1]["hidden_0"], images(image)[1]["conv_0"], images.convolutions[0](image)

    hidden, conv, outputs = taps(model, images, jnp.asarray(x), jnp.asarray(image))
    outputs = np.asarray(outputs)
    z = np.asarray(model.layers[0].weight) @ x
    expected = np.maximum((z - z.mean()) / np.sqrt(z.var() + 1e-5) * scale + shift, 0)
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-6)
    expected = np.maximum((outputs - outputs.mean(0)) / np.sqrt(outputs.var(0) + 1e-5), 0)
    np.testing.assert_allclose(conv, expected, rtol=1e-3, atol=1e-5)


def test_density_sets_the_number_of_connections():
    linear = drawn(lambda key: eqx.nn.Linear(5, 6, key=key), KEY)

    @eqx.filter_jit
    def sparse(layer, a, b):
        return [Sparse(layer, d, key=k) for d, k in ((0.32, a), (0.32, b), (0.001, a))]

    layers = sparse(linear, KEY, jax.random.key(1))
    for layer, count in zip(layers, (10, 10, 1), strict=True):
        mask = np.asarray(layer.mask)
        assert mask.sum() == count
        np.testing.assert_array_equal(layer.weight, np.where(mask, linear.weight, 0))
    assert not np.array_equal(layers[0].mask, layers[1].mask)


def test_a_sparse_layer_stays_sparse_under_any_optimiser():
    model: Any = mlp(KEY, density=0.3, width=6).model
    assert [isinstance(layer, Sparse) for layer in model.layers] == [True, True, False]
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    traces = []

    @eqx.filter_jit
    def step(model, optimiser):
        traces.append(None)
        loss = lambda m: jnp.sum(jax.vmap(m)(x)[0] ** 2)
        value, grads = eqx.filter_value_and_grad(loss)(model)
        return *optimiser.apply(grads, model), value

    optimiser = Optimiser(optax.adamw, learning_rate=0.1, weight_decay=0.1)
    optimiser = eqx.filter_jit(lambda o, m: o.init(m))(optimiser, model)
    trained, later, loss = step(model, optimiser)
    trained, later, _ = step(trained, later)
    for before, after in zip(model.layers[:-1], trained.layers[:-1], strict=True):
        outside = ~np.asarray(before.mask)
        assert not np.asarray(after.weight)[outside].any()
        assert (np.asarray(after.weight) != np.asarray(before.weight))[~outside].any()
        np.testing.assert_array_equal(after.mask, before.mask)
    # Whatever is written outside the mask has no effect.
    first = lambda m: m.layers[0].weight
    noise = np.asarray(~np.asarray(model.layers[0].mask), np.float32)
    noisy = eqx.tree_at(first, model, jnp.asarray(np.asarray(first(model)) + noise))
    assert step(noisy, optimiser)[2] == loss
    np.testing.assert_array_equal(first(jax.jit(connected)(noisy)), first(model))
    # A new mask needs no new program.
    other = jnp.asarray(~np.asarray(model.layers[0].mask))
    step(eqx.tree_at(lambda m: m.layers[0].mask, trained, other), later)
    assert len(traces) == 1


def test_a_sparse_convolution_reads_only_its_connections():
    model: Any = convnet(KEY, density=0.4).model
    layer = model.convolutions[0]
    x = np.random.default_rng(0).normal(size=model.in_shape).astype(np.float32)
    filled = jnp.asarray(np.asarray(layer.weight) + ~np.asarray(layer.mask))
    filled = eqx.tree_at(lambda s: s.layer.weight, layer, filled)
    sparse, plain = eqx.filter_jit(lambda a, b, x: (a(x), b(x)))(
        filled, layer.layer, jnp.asarray(x)
    )
    np.testing.assert_array_equal(sparse, plain)
    again = eqx.filter_eval_shape(lambda m: m.fresh(key=KEY), model)
    assert jax.tree.structure(again) == jax.tree.structure(model)


@pytest.mark.parametrize("density", [0.0, 1.5, float("nan")])
def test_densities_are_checked(density):
    with pytest.raises(ValueError, match="`density` is"):
        MLP(3, 2, width=4, density=density, key=KEY)
    with pytest.raises(ValueError, match="`density` is"):
        Sparse(drawn(lambda key: eqx.nn.Linear(3, 2, key=key), KEY), density, key=KEY)
