"""The activations AID, AdaLin and smooth leaky ReLU, and parameters that belong to single units."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import ByKey, convnet, mlp

from spectral import models
from spectral.models import AdaLin, AID, entries_of, head_parameters, MLP, renew_units, smooth_leaky
from spectral.models.layers.activations._activation import named_function
from spectral.studies.experiment._constructors import constructors


KEY = jax.random.key(0)
X = jnp.array([-3.0, -1.0, -0.5, 0.0, 0.3, 1.0, 3.0])


def test_smooth_leaky_at_the_published_numbers():
    f = smooth_leaky(slope=0.1, steepness=5 / 3)

    @jax.jit
    def values(x):
        least = jnp.array([-2.3994 * 3 / 5])
        slopes = [jax.grad(lambda x, f=f: f(x)[0])(least)[0] for f in (f, smooth_leaky(slope=0.05))]
        others = smooth_leaky(slope=1)(x), smooth_leaky(slope=0, steepness=1)(x), jax.nn.silu(x)
        return f(x), f(x) - f(-x), slopes, others, smooth_leaky(steepness=1e4)(x)

    found, difference, slopes, (identity, silu, expected), sharp = values(X)
    known = {
        -3: -0.31807070,
        -1: -0.24298219,
        -0.5: -0.18632332,
        0: 0,
        1: 0.85701781,
        3: 2.98192930,
    }
    for x, value in known.items():
        np.testing.assert_allclose(found[X == x], value, rtol=1e-6)
    np.testing.assert_allclose(difference, 1.1 * X, rtol=1e-5)
    np.testing.assert_allclose(slopes, [0.01014, -0.0448], atol=5e-5)
    np.testing.assert_array_equal(identity, X)
    np.testing.assert_allclose(silu, expected, rtol=1e-6)
    np.testing.assert_allclose(sharp, np.where(X > 0, X, 0.1 * X), atol=1e-6)
    assert smooth_leaky() == f
    assert jax.tree.structure(smooth_leaky()) == jax.tree.structure(f)  # one program for both


def test_aid_draws_in_training_and_averages_in_inference():
    shape, p = (4000, X.size), 0.75

    @jax.jit
    def applied(key):
        x = jnp.broadcast_to(X, shape)
        flat = eqx.nn.inference_mode(AID(p=p))(X)
        even = jnp.linspace(-1, 1, 4001)
        return AID(p=p)(x, key=key), flat, AID(p=1.0)(X, key=key), AID(p=p)(even, key=key)

    trained, flat, relu, even = map(np.asarray, applied(KEY))
    upper, lower = np.maximum(X, 0), np.minimum(X, 0)
    assert ((trained == upper) | (trained == lower)).all()
    np.testing.assert_allclose(flat, p * upper + (1 - p) * lower, rtol=1e-6)
    np.testing.assert_allclose(trained.mean(axis=0), flat, atol=0.08)
    # Every unit has a draw of its own.
    kept = trained[:, np.asarray(X) != 0] == upper[np.asarray(X) != 0]
    assert 0.5 < np.mean(kept[:, 0] == kept[:, 1]) < 0.75
    np.testing.assert_array_equal(relu, upper)
    assert np.mean(even**2) == pytest.approx(0.5 / 3, abs=0.02)
    with pytest.raises(ValueError, match="`key` is None, but `AID` draws for every unit"):
        AID(p=p)(X)


@pytest.mark.parametrize("p", [0.25, 0.9])
def test_two_complementary_draws_of_aid_add_to_the_input(p, monkeypatch):
    mask = np.asarray(X) % 1 == 0
    for draw in (mask, ~mask):
        monkeypatch.setattr(jax.random, "bernoulli", lambda *_, draw=draw: jnp.asarray(draw))
        expected = np.where(draw, np.maximum(X, 0), np.minimum(X, 0))
        np.testing.assert_array_equal(AID(p=p)(X, key=KEY), expected)


def with_alpha(activation, *alpha):
    numbers = jnp.array(alpha)
    return eqx.tree_at(lambda a: a.alpha, activation, numbers, is_leaf=lambda x: x is None)


def test_adalin_at_the_published_numbers(float64):
    relu, tanh = with_alpha(AdaLin(), 0.3, 0.3), with_alpha(AdaLin(function="tanh"), 0.5, 0.3)
    plain = with_alpha(AdaLin(function="tanh"), 0.0, 0.0)
    gelu = with_alpha(AdaLin(function=_gelu, lipschitz=1.1289), 0.5)

    @eqx.filter_jit
    def values(x, y, z):
        slopes = jax.grad(lambda x: jnp.sum(tanh(x)))(x)
        return relu(y), tanh(x), slopes, plain(x), jnp.tanh(x), gelu(z), jax.grad(_gelu)(z[0])

    x, y, z = jnp.array([1.0, -2.0]), jnp.array([-2.0, 3.0]), jnp.array([-0.7])
    leaky, curved, slopes, zero, expected, smooth, slope = values(x, y, z)
    np.testing.assert_allclose(leaky, [-0.6, 3.0], atol=1e-12)
    np.testing.assert_allclose(curved, [1.1566840132, -1.5603365320], rtol=1e-9)
    np.testing.assert_allclose((curved[0] - expected[0]) / 0.5, 0.7901797144, rtol=1e-9)
    np.testing.assert_allclose(slopes[1], 0.3688053008, rtol=1e-9)
    np.testing.assert_array_equal(zero, expected)
    cosine = np.cos(np.pi / 2 * abs(slope) / 1.1289)
    np.testing.assert_allclose(smooth, _gelu(z) + 0.5 * z * cosine, rtol=1e-9)


def _gelu(x):
    return jax.nn.gelu(x, approximate=False)


def test_every_unit_of_every_layer_has_its_own_alpha():
    """They are uniform and follow from the key. The weights are those of another activation."""
    options = {"width": 40, "depth": 2, "initialiser": ByKey()}
    make = eqx.filter_jit(lambda key, f: MLP(3, 2, activation=f, key=key, **options))
    model, again = (make(key, AdaLin()) for key in jax.random.split(KEY))
    alphas = np.concatenate([a for m in (model, again) for a in jax.tree.leaves(m.activations)])
    assert alphas.shape == (160,)
    assert len(set(alphas.tolist())) == 160
    assert alphas.min() >= 0
    assert alphas.max() < 1
    assert alphas.mean() == pytest.approx(0.5, abs=0.1)
    plain = make(jax.random.split(KEY)[0], "relu")
    for a, b in zip(model.layers, plain.layers, strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)


def test_renewal_draws_the_alpha_of_a_unit_again():
    model = mlp(KEY, activation=AdaLin(), width=6, depth=1).model
    (group,), one = model.units(), jnp.arange(6) == 2

    @eqx.filter_jit
    def renewed(model, keys):
        renew = lambda key: renew_units(model, group, one, key=key).activations[0].alpha
        return jax.vmap(renew)(keys), entries_of(model, group, one).activations[0].alpha

    (first, second), marks = renewed(model, jax.random.split(KEY))
    old = np.asarray(model.activations[0].alpha)
    np.testing.assert_array_equal(old != np.asarray(first), one)
    np.testing.assert_array_equal(marks, one)
    assert 0 <= first[2] < 1
    assert first[2] != second[2]
    head = head_parameters(model)
    assert [head.activations[0].alpha, head.layers[-1].weight] == [False, True]


def test_convolutions_reject_adalin():
    model = convnet(KEY, activation=AdaLin()).model
    image = jax.ShapeDtypeStruct(model.in_shape, jnp.float32)
    with pytest.raises(ValueError, match="has 3 of its numbers for .* shape \\(12, 10, 3\\)"):
        eqx.filter_eval_shape(model, image)
    with pytest.raises(ValueError, match="`alpha` of `AdaLin` has none of its numbers"):
        AdaLin()(X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AID(p=1.5), "`p` is 1.5, but must lie between 0 and 1"),
        (lambda: smooth_leaky(slope=-0.1), "`slope` is -0.1"),
        (lambda: smooth_leaky(steepness=0.0), "`steepness` is 0.0"),
        (lambda: AdaLin(lipschitz=0.0), "`lipschitz` is 0.0"),
        (lambda: named_function("function", "x"), "`function`: Name 'x' does not"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_settings_can_name_them():
    assert {"AID", "AdaLin", "smooth_leaky"} <= constructors(models.AbstractActivation).keys()
