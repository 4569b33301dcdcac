"""The variances and bounds of initial weights, for whole layers and for some of their rows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import models
from spectral.models import MLP


KEY = jax.random.key(5)
# Initialiser, variance and bound for (out, in, *kernel) = (100, 2, 5, 5).
CASES = [
    (models.KaimingUniform(), 2 / 50, np.sqrt(6 / 50)),
    (models.KaimingNormal(), 2 / 50, np.inf),
    (models.KaimingNormal(scale=1.0), 1 / 50, np.inf),
    (models.LecunNormal(), 1 / 50, 2 / 0.8796 / np.sqrt(50)),
    (models.LecunUniform(), 1 / 50, np.sqrt(3 / 50)),
    (models.FanOutNormal(), 2 / 2500, 2 / 0.8796 * np.sqrt(2 / 2500)),
    (models.FanOutNormal(scale=1.0), 1 / 2500, 2 / 0.8796 / np.sqrt(2500)),
    (models.TorchDefault(), 1 / 3 / 50, 1 / np.sqrt(50)),
    (models.Orthogonal(scale=0.5), 0.25 / 100, 0.5),
]


def test_initial_weights_have_the_stated_variance():
    @jax.jit
    def drawn(key):
        return [initialiser(key, (100, 2, 5, 5)) for initialiser, _, _ in CASES]

    for (initialiser, variance, bound), found in zip(CASES, drawn(KEY), strict=True):
        weight, bias = map(np.asarray, found)
        np.testing.assert_allclose(weight.var(), variance, rtol=0.08)
        assert np.abs(weight).max() <= bound * (1 + 1e-3)
        if isinstance(initialiser, models.TorchDefault):
            assert 0.9 * bound < np.abs(bias).max() <= bound
            assert not np.allclose(bias[:5], weight.ravel()[:5])
        else:
            assert not bias.any()


@pytest.mark.parametrize(
    ("initialiser", "variance", "bound"),
    [
        pytest.param(*case, marks=() if i in (0, 5) else pytest.mark.slow, id=str(i))
        for i, case in enumerate(CASES)
    ],
)
def test_rows_have_the_variance_of_the_layer(initialiser, variance, bound):
    """Half of the outputs of a layer."""
    rows = np.asarray(jax.jit(lambda key: initialiser.rows(key, (50, 2, 5, 5), 100))(KEY))
    np.testing.assert_allclose(rows.var(), variance, rtol=0.1)
    assert np.abs(rows).max() <= bound * (1 + 1e-3)


def test_rows_of_other_initialisers_are_drawn_alone():
    """Initialisers whose weights do not depend on the number of outputs share one `rows`."""
    alone = {type(initialiser).rows for initialiser, _, _ in CASES}
    assert models.KaimingUniform.rows in alone
    assert len(alone) == 3  # `FanOutNormal` and `Orthogonal` have separate ones


def test_orthogonal_rows_have_the_norm_of_the_layer():
    orthogonal, keys = models.Orthogonal(scale=2.0), jax.random.split(KEY, 500)

    @jax.jit
    def both(keys):
        return [
            (
                orthogonal(keys[0], (total, inputs))[0],
                jax.vmap(lambda k, n=total, m=inputs: orthogonal.rows(k, (2, m), n))(keys),
            )
            for total, inputs in ((4, 9), (9, 4))
        ]

    for square, pair in zip((4.0, 4.0 * 4 / 9), both(keys), strict=True):
        whole, rows = map(np.asarray, pair)
        norms = (rows**2).sum(axis=-1)
        np.testing.assert_allclose((whole**2).sum(axis=1).mean(), square, rtol=1e-5)
        np.testing.assert_allclose(norms.mean(), square, rtol=0.05)
        assert (norms.std() < 1e-5) == (square == 4)


class ByOutputs(models.AbstractInitialiser):
    """Weights that depend on the number of outputs."""

    def __call__(self, key, shape):
        return jnp.full(shape, 1.0 * shape[0]), jnp.zeros(shape[0])


def test_rows_of_a_custom_initialiser():
    """A whole layer is drawn, because the initialiser may treat its outputs together."""
    make = lambda key: MLP(3, 2, width=5, depth=1, initialiser=ByOutputs(), key=key)
    model = eqx.filter_eval_shape(make, KEY)
    assert np.all(np.asarray(model.units()[0].draw(KEY, (2, 3))) == 5)


def test_head_of_an_mlp_has_its_own_initialiser():
    """Also in a fresh twin. Otherwise the head is drawn as the other layers."""

    @jax.jit
    def largest(key):
        ours = models.MLP(
            60, 60, width=60, depth=1, head_initialiser=models.LecunUniform(), key=key
        )
        found = [ours, ours.fresh(key=key), MLP(60, 60, width=60, depth=1, key=key)]
        return [[jnp.abs(layer.weight).max() for layer in model.layers] for model in found]

    hidden, head = np.sqrt(6 / 60), np.sqrt(3 / 60)
    expected = [[hidden, head], [hidden, head], [hidden, hidden]]
    np.testing.assert_allclose(largest(KEY), expected, rtol=0.01)
