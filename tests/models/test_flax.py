"""Networks of Flax as networks of this library, where Flax is installed."""

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import arrays
from tables import permuted

from spectral import algorithms, train_continual
from spectral.models import apply_network, from_flax


pytest.importorskip("flax", reason="Flax is not installed: pip install 'spectral-plasticity[flax]'")
import flax.linen as linen  # noqa: E402
import flax.nnx as nnx  # noqa: E402


KEY = jax.random.key(8)


class Linen(linen.Module):
    width: int = 4

    @linen.compact
    def __call__(self, x, *, train: bool):
        hidden = linen.relu(linen.Dense(self.width)(x))
        dropped = linen.Dropout(0.5, deterministic=not train)(hidden)
        return linen.Dense(3)(dropped), {"hidden": hidden, "dropped": dropped}


class NNX(nnx.Module):
    def __init__(self):
        self.first = nnx.Linear(6, 4, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))
        self.last = nnx.Linear(4, 3, rngs=nnx.Rngs(2))

    def __call__(self, x):
        hidden = nnx.relu(self.first(x))
        dropped = self.dropout(hidden)
        return self.last(dropped), {"hidden": hidden, "dropped": dropped}


MADE: dict[str, Any] = {
    "linen": lambda: from_flax(Linen(), in_shape=(6,), key=KEY),
    "nnx": lambda: from_flax(NNX()),
}
LAYERS = {"linen": ("Dense_0", "Dense_1"), "nnx": ("first", "last")}


@pytest.fixture(params=MADE)
def kind(request):
    return request.param


def test_it_computes_what_flax_computes(kind):
    model = MADE[kind]()
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    first, last = (model.params[name] for name in LAYERS[kind])
    dense = lambda x, p: x @ np.asarray(p["kernel"]) + np.asarray(p["bias"])
    hidden = np.maximum(dense(x, first), 0)
    apply = eqx.filter_jit(lambda model, x: apply_network(model, None, x, inference=True))
    outputs, aux = apply(model, jnp.asarray(x))
    np.testing.assert_allclose(aux.taps["hidden"], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs, dense(hidden, last), rtol=1e-5, atol=1e-6)


def test_dropout_differs_between_examples_and_keys(kind):
    """Half of the activations are dropped, in training only."""
    model, x = MADE[kind](), jnp.ones((64, 6))
    first = LAYERS[kind][0]
    model = eqx.tree_at(lambda m: m.params[first]["bias"], model, jnp.full(4, 9.0))

    @eqx.filter_jit
    def dropped(model, key):
        taps = apply_network(model, None, x, inference=False, key=key)[1].taps
        return taps["dropped"] == 0

    one, other = (np.asarray(dropped(model, k)) for k in jax.random.split(KEY))
    assert 0.35 < one.mean() < 0.65
    assert len(np.unique(one, axis=0)) > 8
    assert not np.array_equal(one, other)
    kept = apply_network(model, None, x, inference=True, key=KEY)[1].taps
    np.testing.assert_array_equal(kept["dropped"], kept["hidden"])


def test_it_trains(kind):
    model = MADE[kind]()
    stream = permuted(minibatch_size=4).stream
    learner, history = train_continual(model, stream, algorithms.bp(0.1))
    assert np.isfinite(history["loss"]).all()
    for before, after in zip(arrays(model), arrays(learner.model), strict=True):
        assert before.shape == after.shape
        assert not np.array_equal(before, after)


def test_linen_draws_fresh_parameters():
    model = MADE["linen"]()
    fresh = model.fresh(key=jax.random.key(9))
    assert jax.tree.structure(fresh) == jax.tree.structure(model)
    kernels = [m.params["Dense_0"]["kernel"] for m in (model, fresh)]
    assert kernels[0].shape == kernels[1].shape
    assert not np.array_equal(*kernels)


def test_every_stream_of_random_numbers_has_its_own_key():
    class Twice(nnx.Module):
        def __init__(self):
            self.layers = nnx.List([nnx.Dropout(0.5, rngs=nnx.Rngs(0)) for _ in range(2)])

        def __call__(self, x):
            return [layer(x) for layer in self.layers]

    (a, b), _ = from_flax(Twice())(jnp.ones(64), key=KEY)
    assert not np.array_equal(a, b)


def test_what_is_rejected(monkeypatch):
    with pytest.raises(ValueError, match="with variables that are not parameters, in batch_stats"):
        from_flax(linen.BatchNorm(use_running_average=False), in_shape=(4, 6), key=KEY)
    with pytest.raises(ValueError, match="a BatchNorm with variables that are not parameters"):
        from_flax(nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="`in_shape` is None and `key` is None, but a module of L"):
        from_flax(Linen())
    with pytest.raises(ValueError, match="but a module of NNX already has its parameters"):
        from_flax(NNX(), in_shape=(6,), key=KEY)
    with pytest.raises(TypeError, match="`module` is a Linear, but must be a module of Flax"):
        from_flax(eqx.nn.Linear(2, 2, key=KEY))
    monkeypatch.setitem(sys.modules, "flax.linen", None)
    with pytest.raises(ImportError, match=r"run `pip install 'spectral-plasticity\[flax\]'`"):
        from_flax(NNX())
