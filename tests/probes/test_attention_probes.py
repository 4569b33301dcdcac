"""Probes of the blocks of transformers, against NumPy."""

import logging
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import drawn, gpt, inputs_of, vit
from numpy_transformers import numpy_transformer
from signals import learner_of, mlp
from tables import permuted

from spectral import Ensemble, models, probes, studies, train_continual
from spectral.curvature import Function, layer_blocks
from spectral.probes._base._unanswered import _log


KEY = jax.random.key(4)


def entropy_of(weights):
    """The mean over queries of entropy / log(visible positions), of weights `[tokens, tokens]`."""
    found = []
    for row in weights:
        seen = [w for w in row if w is not None]
        if len(seen) > 1:
            terms = [w * math.log(w) for w in seen if w > 0]
            found.append(-sum(terms) / math.log(len(seen)))
    return found


def causal_softmax(logits):
    """Rows of weights, with `None` where a token must not attend."""
    rows = []
    for t, row in enumerate(logits):
        grown = np.exp(row[: t + 1] - row[: t + 1].max())
        rows.append([*(grown / grown.sum()), *[None] * (len(row) - t - 1)])
    return rows


def test_signs_of_heads():
    """A uniform head, a head that attends to one token alone, and one in between, with a mask."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    logits[:, 0], logits[:, 1], logits[1, 2, 3, 1] = 0.0, 200 * np.eye(4), -1e30
    hidden = np.triu(np.ones((4, 4), bool), 1)
    outputs = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    outputs[0, 1, 2], outputs[1, 0] = 0.0, 1e-30 * outputs[1, 0]
    read = jax.jit(
        lambda logits, outputs: (
            models.attention_entropy(logits),
            models.lazy_heads(logits),
            models.collapsed_heads(logits),
            models.largest_logit(logits),
            models.head_redundancy(outputs),
        )
    )
    masked = np.where(hidden, -np.inf, logits).astype(np.float32)
    entropy, lazy, collapsed, largest, redundancy = read(masked, outputs)
    expected = [
        np.mean([entropy_of(causal_softmax(logits[n, h].astype(float))) for n in range(2)])
        for h in range(3)
    ]
    np.testing.assert_allclose(entropy, expected, rtol=1e-5, atol=1e-6)
    assert (expected[0], expected[1] < 1e-6, 0.1 < expected[2] < 0.9) == (1.0, True, True)
    assert (lazy.tolist(), collapsed.tolist()) == ([True, False, False], [False, True, False])
    seen = np.where(hidden, -np.inf, logits)
    np.testing.assert_array_equal(largest, seen.max(axis=(0, 2, 3)))
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for heads in outputs.astype(float)
        for h in range(3)
        for g in range(h)
        for a, b in zip(heads[h], heads[g], strict=True)
        if a.any() and b.any()
    ]
    assert len(cosines) == 3 * 2 * 4 - 2
    np.testing.assert_allclose(redundancy, np.mean(cosines), rtol=1e-4)
    # A head beside two that add nothing: the rounding of its norm is not a cosine.
    alone = np.random.default_rng(1).normal(size=outputs.shape).astype(np.float32)
    alone[:, 1:] = 0.0
    assert np.isnan(read(masked, alone)[4])


def sampled(model, taps, monkeypatch):
    """A sampler that finds these taps."""
    monkeypatch.setattr(probes.Sampler, "taps", lambda self, *, key: taps)
    learner = learner_of(model)
    return probes.Sampler(learner, permuted().stream, None, 6, "train", KEY)


KINDS = {
    "heads": probes.AttentionHeads(),
    "blocks": probes.BlockFeatures(),
    "active": probes.ActiveUnits(),
}


@eqx.filter_jit
def measured(sampler):
    return {name: probe.measure(sampler, key=KEY) for name, probe in KINDS.items()}


def numpy_taps(network, num):
    """The taps of a network on examples, and its weights of attention, both of NumPy."""
    x = inputs_of(network, num)
    runs = [numpy_transformer(network.model, one)[1:] for one in x]
    taps = {n: np.stack([t[n] for t, _ in runs]).astype(np.float32) for n in runs[0][0]}
    return jax.device_put(taps), [weights["block_0"] for _, weights in runs]


def rank(x):
    sigma = np.linalg.svd(x, compute_uv=False)
    p = sigma[sigma > 1e-6 * sigma[0]] / sigma.sum()
    return np.exp(-(p * np.log(p)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt", "vit"])
def test_probes_of_blocks(kind, monkeypatch):
    options: dict[str, Any] = {"activation": "relu", "qk_norm": False}
    options |= {"positions": models.LearnedPositions()}
    network = (gpt if kind == "gpt" else vit)(KEY, **options)
    taps, weights = numpy_taps(network, 6)
    found = jax.tree.map(np.asarray, measured(sampled(network.model, taps, monkeypatch)))
    taps = jax.tree.map(np.asarray, taps)
    heads, blocks = found["heads"], found["blocks"]
    attention, tokens = network.model.blocks[0].attention, taps["embedding"].shape[2]
    num, shared = attention.num_heads, attention.num_heads // attention.num_kv_heads
    expected, largest, added = [], [], []
    for h in range(num):
        fractions, logits, outputs = [], [], []
        for n, of_example in enumerate(weights):
            last = lambda t: t + 1 if kind == "gpt" else tokens
            rows = [list(of_example[h, t, : last(t)]) for t in range(tokens)]
            fractions += entropy_of(rows)
            apart = lambda name, i, n=n: taps[f"block_0_{name}"][n].reshape(-1, 2, tokens)[i]
            products = apart("query", h).T @ apart("key", h // shared) / math.sqrt(2)
            logits += [products[t, s] for t in range(tokens) for s in range(last(t))]
            columns = np.asarray(attention.output_proj.weight)[:, 2 * h : 2 * h + 2]
            outputs += [columns @ z for z in apart("heads", h).T]
        expected.append(np.mean(fractions))
        largest.append(max(logits))
        added.append([z / np.linalg.norm(z) for z in outputs])
    np.testing.assert_allclose(heads["entropy"], [expected], rtol=1e-4)
    np.testing.assert_allclose(heads["largest_logit"], [largest], rtol=1e-4)
    np.testing.assert_allclose(heads["lazy"], np.mean(np.array(expected) > 0.9), rtol=1e-6)
    np.testing.assert_allclose(heads["collapsed"], np.mean(np.array(expected) < 0.1), rtol=1e-6)
    pairs = [np.sum(np.multiply(added[h], added[g])) for h in range(num) for g in range(h)]
    count = len(pairs) * len(added[0])
    np.testing.assert_allclose(heads["redundancy"], [sum(pairs) / count], rtol=1e-3, atol=1e-6)
    for part, name in (
        *((p, f"block_0_{p}") for p in ("mlp", "query", "key", "value")),
        ("stream", "block_0"),
    ):
        rows = taps[name].swapaxes(1, 2).reshape(-1, taps[name].shape[1])
        np.testing.assert_allclose(blocks[f"{part}_rank"], [rank(rows)], rtol=2e-3)
        if part != "stream":
            active = np.mean(rows != 0)
            np.testing.assert_allclose(blocks[f"{part}_active"], [active], rtol=1e-6)
    assert 0 < blocks["mlp_active"][0] < 1
    # The residual stream and the heads are never inactive, and do not dilute the fraction.
    np.testing.assert_allclose(found["active"]["fraction"], blocks["mlp_active"][0], rtol=1e-6)
    assert np.isfinite(found["active"]["by_layer"]).sum() == 1


def test_networks_without_an_answer(monkeypatch, caplog):
    _log.cache_clear()
    foreign = probes.Sampler(
        learner_of(mlp(6, 3, width=2)), permuted().stream, None, 6, "train", KEY
    )
    with caplog.at_level(logging.WARNING, logger="spectral"):
        for _ in range(2):
            for probe in (probes.AttentionHeads(), probes.BlockFeatures()):
                found = probe.measure(foreign, key=KEY)
                assert found.keys() == probe.quantities().keys()
                assert all(np.isnan(value).all() for value in found.values())
    assert len(caplog.records) == 2
    assert "measures the blocks of a `GPT` or a `ViT`" in caplog.text

    caplog.clear()
    # One head on sequences of one token, and gates.
    sizes: Any = {"width": 8, "depth": 1, "num_heads": 1, "activation": models.swiglu()}
    network = drawn(lambda key: models.GPT(5, 4, **sizes, key=key), KEY)
    taps = {f"block_0_{n}": jnp.ones((2, 8, 1)) for n in ("query", "key", "value", "heads")}
    taps |= {"block_0_mlp": jnp.ones((2, 32, 1)), "block_0": jnp.ones((2, 8, 1))}
    taps |= {name: jnp.ones((2, 8, 1)) for name in ("embedding", "features")}
    with caplog.at_level(logging.WARNING, logger="spectral"):
        shapes = eqx.filter_eval_shape(measured, sampled(network, taps, monkeypatch))
    assert shapes["heads"]["entropy"].shape == (1, 1)
    for reason in ("one token, which attends to itself", "have one head", "is not 0 below 0"):
        assert reason in caplog.text


@pytest.mark.parametrize("name", ["lazy_threshold", "collapsed_threshold"])
def test_thresholds_are_fractions(name):
    options: dict[str, Any] = {name: 1.5}
    with pytest.raises(ValueError, match=f"`{name}` is 1.5, but must lie between 0 and 1"):
        probes.AttentionHeads(**options)


SETTINGS: Any = {
    "stream": {
        "type": "PermutedVocabulary",
        "num_tasks": 2,
        "loader": {"type": "SequenceLoader", "steps_per_task": 2, "minibatch_size": 2},
    },
    "model": {"type": "GPT", "width": 4, "depth": 1, "num_heads": 2, "mlp_width": 4},
    "algorithms": {"bp": {"type": "bp", "lr": 0.01}},
    "probes": {
        "heads": {"type": "AttentionHeads", "num_examples": 4, "when": ["start"]},
        "features": {"type": "BlockFeatures", "num_examples": 4, "when": ["start"]},
        "parts": {
            "type": "BlockSpectra",
            "groups": {"type": "TransformerParts"},
            "estimator": {"type": "Lanczos", "order": 3},
            "num_examples": 2,
        },
        "named": {
            "type": "BlockSpectra",
            "groups": {"mlp": ["blocks.*.mlp.up", "blocks.*.mlp.down"]},
            "estimator": {"type": "Lanczos", "order": 3},
            "num_examples": 2,
        },
    },
}


@pytest.mark.slow
def test_transformers_are_probed_from_settings_and_in_ensembles():
    experiment = studies.make_experiment(SETTINGS)
    algo, model = experiment.algorithms["bp"], experiment.member(0)[0]
    # The paths of a real network are those that the groups expect.
    blocks = layer_blocks(Function(lambda v: v, eqx.filter(model, eqx.is_inexact_array)))
    parts = dict.fromkeys(map(models.TransformerParts(), blocks))
    assert set(parts) == {"embedding", "block_0_attention", "block_0_mlp", "norms"}
    ranks = {f"parts.start.{part}_spectral_stable_rank" for part in parts}
    assert ranks < experiment.quantities.keys()
    assert {n for n in experiment.quantities if n.startswith("named.")} == {
        f"named.start.mlp_{rank}" for rank in ("epsilon_rank", "spectral_stable_rank")
    }
    measures = {name: experiment.probes[name] for name in ("heads", "features")}
    both = Ensemble.of([model, experiment.member(1)[0]])
    history = train_continual(both, experiment.stream, algo, key=KEY, probes=measures)[1]
    assert history["heads.start.entropy"].shape == (2, 2, 1, 2)
    assert history["features.start.mlp_rank"].shape == (2, 2, 1)
    for name in (n for n in history if n.startswith(("heads.", "features."))):
        assert np.isfinite(history[name]).all() or name.endswith("mlp_active"), name
