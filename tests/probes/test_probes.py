from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tables import permuted, STREAMS

from spectral import algorithms, Learner, probes, train_continual
from spectral.curvature import Dense, GaussNewton, GramEigh, Lanczos
from spectral.models import feature_effective_rank, feature_stable_rank, srank99


KEY = jax.random.key(5)


def half_dead():
    """A setting whose second hidden layer has two dead units of five and a faint one."""
    setting = permuted(standardise=False)
    bias = jnp.array([-100.0, -100.0, 1.0, 1.0, 1.0])
    model = eqx.tree_at(lambda m: m.layers[1].bias, setting.model, bias)
    faint = model.layers[1].weight.at[4].set(0.0)
    model = eqx.tree_at(lambda m: m.layers[1].weight, model, faint)
    model = eqx.tree_at(lambda m: m.layers[1].bias, model, bias.at[4].set(1e-3))
    learner = Learner(model, None, algorithms.bp().optimiser.init(model))
    return setting.stream, setting.stream.init(key=KEY), learner


def features(stream, state, learner):
    batch = stream.sample(state, learner, 42, "train", key=KEY)
    _, taps = jax.vmap(learner.model)(batch.inputs)
    return [np.asarray(h) for h in taps.values()]


def test_dead_and_dormant_units():
    stream, state, learner = half_dead()
    first, second = features(stream, state, learner)
    assert ((second == 0).all(0)).tolist() == [True, True, False, False, False]
    dead = probes.DeadUnits(num_examples=42)(learner, stream, state, key=KEY)
    silent = np.array([(first == 0).all(0).mean(), 0.4])
    np.testing.assert_allclose(dead["by_layer"], silent, rtol=1e-6)
    np.testing.assert_allclose(dead["fraction"], silent.mean(), rtol=1e-6)
    dormant = probes.DormantUnits(num_examples=42)(learner, stream, state, key=KEY)
    np.testing.assert_allclose(dormant["by_layer"][1], 0.6, rtol=1e-6)
    wide_awake = probes.DormantUnits(threshold=1e-6, num_examples=42)(
        learner, stream, state, key=KEY
    )
    np.testing.assert_allclose(wide_awake["by_layer"][1], 0.4, rtol=1e-6)


def test_feature_ranks():
    stream, state, learner = half_dead()
    found = probes.FeatureRank(num_examples=42)(learner, stream, state, key=KEY)
    measures = {
        "feature_effective_rank": feature_effective_rank,
        "srank99": srank99,
        "feature_stable_rank": feature_stable_rank,
    }
    for name, measure in measures.items():
        for layer, h in enumerate(features(stream, state, learner)):
            np.testing.assert_allclose(found[name][layer], measure(jnp.asarray(h)), rtol=1e-3)


def test_norms():
    stream, state, learner = half_dead()
    flat = np.asarray(ravel_pytree(eqx.filter(learner.model, eqx.is_inexact_array))[0])
    weights = probes.WeightNorm()(learner, stream, state, key=KEY)
    np.testing.assert_allclose(weights["norm"], np.linalg.norm(flat), rtol=1e-5)
    np.testing.assert_allclose(weights["mean_magnitude"], np.abs(flat).mean(), rtol=1e-5)

    batch = stream.sample(state, learner, 42, "train", key=KEY)

    def loss(model):
        logits = jax.vmap(lambda x: model(x)[0])(batch.inputs)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(42), batch.labels])

    value, grads = eqx.filter_value_and_grad(loss)(learner.model)
    found = probes.GradientNorm(num_examples=42)(learner, stream, state, key=KEY)
    np.testing.assert_allclose(found["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(found["norm"], np.linalg.norm(ravel_pytree(grads)[0]), rtol=1e-4)


def test_hessian_spectrum_against_the_dense_hessian():
    stream, state, learner = half_dead()
    params, static = eqx.partition(learner.model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(params)
    batch = stream.sample(state, learner, 42, "train", key=KEY)

    def loss(flat):
        model = eqx.combine(unravel(flat), static)
        logits = jax.vmap(lambda x: model(x)[0])(batch.inputs)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(42), batch.labels])

    exact = np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(flat), np.float64))
    probe = probes.HessianSpectrum(
        epsilon=1e-3, num_examples=42, estimator=Lanczos(order=flat.size, num_vectors=40)
    )
    found = probe(learner, stream, state, key=KEY)
    np.testing.assert_allclose(found["extremes"], exact[[0, -1]], rtol=1e-3, atol=1e-5)
    true = (np.abs(exact) > 1e-3).mean()
    error = abs(float(found["normalised_epsilon_rank"]) - true)
    assert error < 4 * float(found["normalised_epsilon_rank_sem"])
    assert (
        found["normalised_epsilon_rank_lower"]
        <= found["normalised_epsilon_rank"]
        <= found["normalised_epsilon_rank_upper"]
    )
    assert 0 < true < 1
    assert found["nodes"].shape == found["weights"].shape == (40, flat.size)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("batch_size", [None, 14])
def test_any_matrix_and_any_estimator(batch_size):
    stream, state, learner = half_dead()
    options = {"epsilon": 1e-3, "num_examples": 42, "batch_size": batch_size}
    gram = probes.HessianSpectrum(matrix=GaussNewton, estimator=GramEigh(), **options)
    dense = probes.HessianSpectrum(matrix=GaussNewton, estimator=Dense(), **options)
    hessian = probes.HessianSpectrum(estimator=Dense(), **options)
    ranks = [
        float(p(learner, stream, state, key=KEY)["normalised_epsilon_rank"])
        for p in (gram, dense, hessian)
    ]
    np.testing.assert_allclose(ranks[0], ranks[1], rtol=1e-9)
    assert 0 < ranks[1] < ranks[2] < 1


PROBES = {
    "dead": probes.DeadUnits(num_examples=20),
    "dormant": probes.DormantUnits(num_examples=20),
    "rank": probes.FeatureRank(num_examples=20),
    "weights": probes.WeightNorm(),
    "gradient": probes.GradientNorm(num_examples=20),
    "hessian": probes.HessianSpectrum(
        num_examples=20, estimator=Lanczos(order=5, num_vectors=2), every=2
    ),
    "held_out": probes.DeadUnits(num_examples=18, split="held_out", when=("end",)),
}


@pytest.mark.parametrize(
    "stream",
    ["permuted_online", "growing_classes", pytest.param("point_mass", marks=pytest.mark.slow)],
)
def test_all_probes_on_all_streams(stream):
    setting = STREAMS[stream]()
    _, history = train_continual(
        setting.model,
        setting.stream,
        algorithms.bp(0.01),
        model_state=setting.model_state,
        probes=PROBES,
    )
    found = {name.rsplit(".", 1)[0] for name in history if "." in name}
    both = {f"{n}.{w}" for n in ("dead", "dormant", "rank", "weights", "gradient") for w in WHEN}
    assert found == both | {"hessian.start", "held_out.end"}
    for name in history:
        measured = np.isfinite(history[name]).reshape(3, -1).all(1).tolist()
        assert measured == [True, not name.startswith("hessian"), True], name


WHEN = ("start", "end")


def test_start_and_end_see_the_task():
    """At the start of a task the data are new and the weights those of the end before."""
    setting = permuted()
    _, history = train_continual(setting.model, setting.stream, algorithms.bp(0.05), probes=PROBES)
    norms = {when: history[f"weights.{when}.norm"] for when in WHEN}
    np.testing.assert_array_equal(norms["start"][1:], norms["end"][:-1])
    assert norms["start"][0] != norms["end"][0]
    losses = {when: history[f"gradient.{when}.loss"] for when in WHEN}
    assert (losses["start"][1:] != losses["end"][:-1]).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="`epsilon` is 0"):
        probes.HessianSpectrum(epsilon=0)
    with pytest.raises(ValueError, match="`batch_size` is 3, but must divide `num_examples`, which is 10"):
        probes.HessianSpectrum(num_examples=10, batch_size=3)
    for probe in (probes.HessianSpectrum, probes.DeadUnits, probes.FeatureRank):
        with pytest.raises(ValueError, match="`num_examples` is 0, but must be an integer of at least"):
            probe(num_examples=0)
    estimator: Any = Dense
    with pytest.raises(TypeError, match=r"`estimator` is the class Dense.* call it.*`Dense\(\)`"):
        probes.HessianSpectrum(estimator=estimator)
    setting = permuted()
    with pytest.raises(ValueError, match=r"`probes\['dead'\].every` is 0"):
        train_continual(
            setting.model,
            setting.stream,
            algorithms.bp(),
            probes={"dead": probes.DeadUnits(every=0)},
        )
