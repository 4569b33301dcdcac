from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import convnet, mlp

from spectral import models, Optimiser
from spectral.models import CReLU, DeepFourier, MLP, PELU, Rational, Sparse


X = np.linspace(-3, 3, 13)


def pelu(x, a, b):
    return np.where(x >= 0, a / b * x, a * (np.exp(x / b) - 1))


def test_activations_by_their_formulas():
    x = jnp.asarray(X, jnp.float32)
    expected = np.concatenate([np.maximum(X, 0), np.maximum(-X, 0)])
    np.testing.assert_allclose(CReLU()(x), expected, rtol=1e-6)
    expected = np.concatenate([np.sin(X), np.cos(X)])
    np.testing.assert_allclose(DeepFourier()(x), expected, atol=1e-6)
    np.testing.assert_allclose(PELU()(x), jax.nn.elu(x), rtol=1e-5)
    other = eqx.tree_at(lambda p: (p.log_a, p.log_b), PELU(), (jnp.log(2.0), jnp.log(0.5)))
    np.testing.assert_allclose(other(x), pelu(X, 2, 0.5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", [CReLU(), DeepFourier(), PELU(), Rational()])
def test_activations_at_several_positions(activation):
    x = jnp.asarray(np.stack([X, 2 * X]), jnp.float32)
    np.testing.assert_allclose(activation(x), jax.vmap(activation)(x), rtol=1e-5, atol=1e-6)


def test_a_rational_activation_begins_as_leaky_relu_and_is_a_quotient():
    x = np.linspace(-3, 3, 601)
    error = np.asarray(Rational()(jnp.asarray(x, jnp.float32))) - np.where(x > 0, x, 0.01 * x)
    assert np.abs(error).max() < 0.04
    p, q = np.array([0.3, -1, 0.5, 2, -0.1, 0.2]), np.array([0.7, -2, 0.1, 0.4])
    other = eqx.tree_at(
        lambda r: (r.numerator, r.denominator), Rational(), (jnp.array(p), jnp.array(q))
    )
    below = 1 + np.abs(np.polynomial.Polynomial([0, *q])(X))
    expected = np.polynomial.Polynomial(p)(X) / below
    np.testing.assert_allclose(other(jnp.asarray(X, jnp.float32)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", [PELU(), Rational()])
def test_parameters_are_learnt_layer_by_layer(activation, getkey):
    model, _, _ = mlp(getkey(), activation=activation)
    x = jnp.array([1e3, -2.0, 0.5])  # where an exponential of the wrong side would overflow

    grads = eqx.filter_grad(lambda m: jnp.sum(m(x)[0] ** 2))(model)
    for own in grads.activations:
        for leaf in jax.tree.leaves(own):
            assert np.isfinite(leaf).all()
            assert np.any(leaf != 0)
    moved = eqx.apply_updates(model, grads)
    fresh = moved.fresh(key=getkey())
    assert eqx.tree_equal(fresh.activations, model.activations)
    assert jax.tree.structure(fresh) == jax.tree.structure(model)


def test_layer_norm_stands_before_the_activation(getkey):
    model, _, _ = mlp(getkey(), layer_norm=True)
    scale, shift = jnp.arange(4.0), jnp.ones(4)
    model = eqx.tree_at(lambda m: (m.norms[0].weight, m.norms[0].bias), model, (scale, shift))
    x = jnp.array([1.0, 2.0, -1.0])
    z = np.asarray(model.layers[0].weight) @ np.asarray(x)
    expected = np.maximum((z - z.mean()) / np.sqrt(z.var() + 1e-5) * np.arange(4) + 1, 0)
    np.testing.assert_allclose(model(x)[1]["hidden_0"], expected, rtol=1e-4, atol=1e-6)


def test_layer_norm_of_a_convolution_is_over_channels(getkey):
    model, _, shape = convnet(getkey(), layer_norm=True)
    x = jax.random.normal(getkey(), shape)
    z = np.asarray(model.convolutions[0](x))
    expected = np.maximum((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5), 0)
    np.testing.assert_allclose(model(x)[1]["conv_0"], expected, rtol=1e-3, atol=1e-5)


def test_a_sparse_layer_stays_sparse_under_any_optimiser(getkey):
    model: Any = MLP(5, 2, width=6, depth=2, density=0.3, key=getkey())
    counts = [int(layer.mask.sum()) for layer in model.layers[:-1]]
    assert counts == [round(0.3 * 30), round(0.3 * 36)]
    assert isinstance(model.layers[-1], eqx.nn.Linear)
    x = jax.random.normal(getkey(), (4, 5))
    optimiser = Optimiser(optax.adamw, learning_rate=0.1, weight_decay=0.1).init(model)

    traces = []

    @eqx.filter_jit
    def step(model, optimiser):
        traces.append(None)
        grads = eqx.filter_grad(lambda m: jnp.sum(jax.vmap(m)(x)[0] ** 2))(model)
        return optimiser.apply(grads, model)

    trained = model
    for _ in range(3):
        trained, optimiser = step(trained, optimiser)
    for before, after in zip(model.layers[:-1], trained.layers[:-1], strict=True):
        outside = ~np.asarray(before.mask)
        assert not np.asarray(after.weight)[outside].any()
        assert (np.asarray(after.weight) != np.asarray(before.weight))[~outside].any()
        np.testing.assert_array_equal(after.mask, before.mask)
    # Whatever is written outside the mask has no effect; another mask needs no new program.
    noisy = eqx.tree_at(
        lambda m: m.layers[0].weight, model, model.layers[0].weight + ~model.layers[0].mask
    )
    np.testing.assert_array_equal(noisy(x[0])[0], model(x[0])[0])
    rewired = eqx.tree_at(lambda m: m.layers[0].mask, trained, ~model.layers[0].mask)
    step(rewired, optimiser)
    assert len(traces) == 1


def test_a_sparse_convolution(getkey):
    model, _, shape = convnet(getkey(), density=0.4)
    layer = model.convolutions[0]
    x = jax.random.normal(getkey(), shape)
    plain = eqx.tree_at(lambda d: d.weight, layer.layer, layer.weight * layer.mask)
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-6)
    assert int(layer.mask.sum()) == round(0.4 * layer.weight.size)
    again = model.fresh(key=getkey())
    assert jax.tree.structure(again) == jax.tree.structure(model)
    assert not np.array_equal(again.convolutions[0].mask, layer.mask)


@pytest.mark.parametrize("density", [0.0, 1.5, float("nan")])
def test_densities_are_checked(density, getkey):
    with pytest.raises(ValueError, match="`density` is"):
        MLP(3, 2, width=4, density=density, key=getkey())
    with pytest.raises(ValueError, match="`density` is"):
        Sparse(eqx.nn.Linear(3, 2, key=getkey()), density, key=getkey())


INITIALISERS = [
    (models.KaimingUniform(), 2 / 50, np.sqrt(6 / 50)),
    (models.KaimingNormal(), 2 / 50, np.inf),
    (models.LecunNormal(), 1 / 50, 2 / 0.8796 / np.sqrt(50)),
    (models.FanOutNormal(), 2 / 2500, 2 / 0.8796 * np.sqrt(2 / 2500)),
    (models.FanOutNormal(scale=1.0), 1 / 2500, 2 / 0.8796 / np.sqrt(2500)),
    (models.TorchDefault(), 1 / 3 / 50, 1 / np.sqrt(50)),
    (models.Orthogonal(scale=0.5), 0.25 / 100, 0.5),
]


@pytest.mark.parametrize(("initialiser", "variance", "bound"), INITIALISERS)
def test_initial_weights_have_the_stated_variance(initialiser, variance, bound, getkey):
    weight, bias = initialiser(getkey(), (100, 2, 5, 5))
    np.testing.assert_allclose(weight.var(), variance, rtol=0.08)
    assert np.abs(weight).max() <= bound * (1 + 1e-3)
    if isinstance(initialiser, models.TorchDefault):
        assert 0.9 * bound < np.abs(bias).max() <= bound
        assert not np.allclose(bias[:5], weight.ravel()[:5])
    else:
        assert not np.asarray(bias).any()
    # The same for half of the outputs, drawn by themselves.
    rows = initialiser.rows(getkey(), (50, 2, 5, 5), 100)
    np.testing.assert_allclose(rows.var(), variance, rtol=0.1)
    assert np.abs(rows).max() <= bound * (1 + 1e-3)


def test_rows_of_an_orthogonal_matrix_have_its_norm(getkey):
    for total, inputs, square in ((4, 9, 4.0), (9, 4, 4.0 * 4 / 9)):
        whole, _ = models.Orthogonal(scale=2.0)(getkey(), (total, inputs))
        draw = jax.vmap(
            lambda k, n=total, m=inputs: models.Orthogonal(scale=2.0).rows(k, (2, m), n)
        )
        norms = np.sum(np.square(draw(jax.random.split(getkey(), 500))), axis=-1)
        np.testing.assert_allclose(np.mean(np.sum(np.square(whole), axis=1)), square, rtol=1e-5)
        np.testing.assert_allclose(norms.mean(), square, rtol=0.05)
        assert (norms.std() < 1e-5) == (total < inputs)


class ByOutputs(models.AbstractInitialiser):
    """Weights that depend on the number of outputs."""

    def __call__(self, key, shape):
        return jnp.full(shape, 1.0 * shape[0]), jnp.zeros(shape[0])


def test_rows_of_an_initialiser_of_ones_own(getkey):
    """A whole layer is drawn, whose outputs may share what is drawn."""
    model = MLP(3, 2, width=5, depth=1, initialiser=ByOutputs(), key=getkey())
    assert np.all(np.asarray(model.units()[0].draw(getkey(), (2, 3))) == 5)
