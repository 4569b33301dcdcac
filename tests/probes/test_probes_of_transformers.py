"""Probes of units and features on transformers."""

import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import gpt, inputs_of, vit
from signals import learner_of
from tables import permuted

from spectral import models, probes
from spectral.probes._base._unanswered import _log
from spectral.probes.units._fractions import fractions


KEY = jax.random.key(4)


def test_layers_without_an_answer():
    marked = jax.device_put(np.array([True, False, False, False]))
    found, none = jax.jit(lambda marked: (fractions([None, marked]), fractions([None])))(marked)
    assert found["fraction"] == 0.25
    np.testing.assert_array_equal(found["by_layer"], [np.nan, 0.25])
    assert np.isnan(none["fraction"])


def test_tokens_are_vectors_of_features():
    """Four heads of two channels, in groups of two; queries, keys and values are not units."""
    model = gpt(KEY).model
    taps = {
        name: jax.device_put(np.arange(2.0 * size * 3).reshape(2, size, 3))
        for name, size in (("block_0_mlp", 5), ("block_0_heads", 8), ("block_0_query", 8))
    }
    # One program for what would be many.
    read = jax.jit(
        lambda taps: (
            models.vectors_of_features(model, taps),
            models.activations_by_unit(model, taps),
        )
    )
    vectors, units = read(taps)
    assert set(vectors) == {"block_0_mlp", "block_0_heads"}
    rows = np.asarray(vectors["block_0_mlp"])
    np.testing.assert_array_equal(
        rows, np.asarray(taps["block_0_mlp"]).swapaxes(1, 2).reshape(6, 5)
    )
    assert {name: a.shape for name, a in units.items()} == {
        "block_0_mlp": (2, 5, 1, 3),
        "block_0_heads": (2, 2, 4, 3),
    }
    np.testing.assert_array_equal(
        units["block_0_heads"][:, 1].reshape(2, -1), taps["block_0_heads"][:, 4:].reshape(2, -1)
    )
    heads = next(group for group in model.units() if group.name == "block_0_heads")
    in_taps = heads.as_in_taps(units["block_0_heads"][0, :, :, 0])
    np.testing.assert_array_equal(in_taps, taps["block_0_heads"][0, :, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "activation", "function"),
    [
        (gpt, "relu", None),
        (gpt, models.swiglu(), "silu"),
        (vit, models.gelu(), "tanh_gelu"),
        (vit, "relu", None),
    ],
)
def test_fractions_and_ranks(make, activation, function, monkeypatch, caplog):
    """One hidden unit is dead. With GELU or a gate it is dormant, and no unit can be dead."""
    _log.cache_clear()
    network = make(KEY, activation=activation, use_bias=True)
    x = jnp.asarray(inputs_of(network, 6))
    model = network.model
    up = np.array(model.blocks[0].mlp.up.weight)
    bias = np.zeros(len(up), np.float32)
    up[2], bias[2] = 0, -1.0 if activation == "relu" else 0.0
    where = lambda m: (m.blocks[0].mlp.up.weight, m.blocks[0].mlp.up.bias)
    model = eqx.tree_at(where, model, (jnp.asarray(up), jnp.asarray(bias)))
    taps = eqx.filter_jit(lambda m: models.apply_network(m, None, x, inference=True)[1].taps)(model)
    monkeypatch.setattr(probes.Sampler, "taps", lambda self, *, key: taps)
    sampler = probes.Sampler(learner_of(model), permuted().stream, None, 6, "train", KEY)
    kinds = {
        "dead": probes.DeadUnits(),
        "dormant": probes.DormantUnits(),
        "rank": probes.FeatureRank(),
    }
    with caplog.at_level(logging.WARNING, logger="spectral"):
        found = eqx.filter_jit(lambda s: {n: p.measure(s, key=KEY) for n, p in kinds.items()})(
            sampler
        )
    named = [*models.activations_by_unit(model, taps)]
    hidden = np.asarray(taps["block_0_mlp"])
    silent = (hidden == 0).all(axis=(0, 2))
    assert silent[2]
    by_layer = dict(zip(named, np.asarray(found["dead"]["by_layer"]), strict=True))
    relu = activation == "relu"
    expected = {n: np.nan for n in named} | ({"block_0_mlp": silent.mean()} if relu else {})
    np.testing.assert_allclose(
        [by_layer[n] for n in named], [expected[n] for n in named], rtol=1e-6
    )
    np.testing.assert_allclose(
        found["dead"]["fraction"], silent.mean() if relu else np.nan, rtol=1e-6
    )
    logged = [r.getMessage() for r in caplog.records if "`DeadUnits` records NaN" in r.getMessage()]
    wanted = f"dead at 0 with ReLU, and not with {function}"
    assert relu or any(wanted in text for text in logged)
    activity = np.abs(hidden).mean(axis=(0, 2))
    dormant = dict(zip(named, np.asarray(found["dormant"]["by_layer"]), strict=True))
    faint = activity <= 0.025 * activity.mean()
    assert faint[2]
    np.testing.assert_allclose(dormant["block_0_mlp"], faint.mean(), rtol=1e-6)
    ranks = dict(zip(named, np.asarray(found["rank"]["feature_effective_rank"]), strict=True))
    for name in named:
        values = np.asarray(taps[name])
        if values.ndim == 3:  # the features of a ViT have no tokens
            values = values.swapaxes(1, 2).reshape(-1, values.shape[1])
        sigma = np.linalg.svd(values, compute_uv=False)
        p = sigma[sigma > 1e-6 * sigma[0]] / sigma.sum()
        np.testing.assert_allclose(ranks[name], np.exp(-(p * np.log(p)).sum()), rtol=2e-3)
