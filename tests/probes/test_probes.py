"""Probes against NumPy and against derivatives of the loss, and when they measure."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork, GrowingClasses
from jax.flatten_util import ravel_pytree
from networks import drawn
from signals import mlp
from tables import permuted, STREAMS, tiny_images

from spectral import algorithms, Learner, probes, tasks, train_continual
from spectral.curvature import Dense, GaussNewton, GramEigh, Lanczos


KEY = jax.random.key(5)
WHEN = ("start", "end")
EPSILON = 1e-3


@eqx.filter_jit
def measure(several, learner, stream, state=None):
    state = stream.init(key=KEY) if state is None else state
    return {name: probe(learner, stream, state, key=KEY) for name, probe in several.items()}


def half_dead() -> Any:
    """A network whose second hidden layer has two dead units of five and a faint one."""
    model = mlp(6, 3, width=5, depth=2)
    weight = np.array(model.layers[1].weight)
    weight[4] = 0
    bias = np.array([-100, -100, 1, 1, 1e-3], np.float32)
    second = lambda m: (m.layers[1].weight, m.layers[1].bias)
    return eqx.tree_at(second, model, (jnp.asarray(weight), jnp.asarray(bias)))


def inputs_and_labels():
    images = tiny_images()
    pixels = np.asarray(images.train_images, np.float64) / 255
    return pixels.reshape(42, 6), np.asarray(images.train_labels)


def hidden_layers(model):
    """The activations of the hidden layers on all images."""
    h, result = inputs_and_labels()[0], []
    for layer in model.layers[:-1]:
        h = np.maximum(h @ np.asarray(layer.weight).T + np.asarray(layer.bias), 0)
        result.append(h)
    return result


@functools.cache
def measured():
    """The network, and what all probes measure on all 42 images, from one program."""
    stream = tasks.PermutedImages(tiny_images(), steps_per_task=1, standardise=False)
    model, few = half_dead(), {"num_examples": 42}
    full = Lanczos(order=83, num_vectors=40)
    gauss_newton = {"epsilon": EPSILON, "matrix": GaussNewton, **few}
    several = {
        "dead": probes.DeadUnits(**few),
        "dormant": probes.DormantUnits(**few),
        "awake": probes.DormantUnits(threshold=1e-6, **few),
        "rank": probes.FeatureRank(**few),
        "weights": probes.WeightNorm(),
        "gradient": probes.GradientNorm(**few),
        "lanczos": probes.HessianSpectrum(epsilon=EPSILON, estimator=full, **few),
        "hessian": probes.HessianSpectrum(
            epsilon=EPSILON, estimator=Dense(), batch_size=14, **few
        ),
        "dense": probes.HessianSpectrum(estimator=Dense(), **gauss_newton),
        "gram": probes.HessianSpectrum(estimator=GramEigh(), batch_size=14, **gauss_newton),
    }
    learner = Learner(model, None, algorithms.bp().optimiser)
    return model, measure(several, learner, stream)


@functools.cache
def derivatives():
    """The parameters as a vector, and the mean loss over the images with its derivatives."""
    params, static = eqx.partition(half_dead(), eqx.is_inexact_array)
    flat, unravel = ravel_pytree(params)
    inputs, labels = (jnp.asarray(a) for a in inputs_and_labels())

    def loss(flat):
        logits = jax.vmap(eqx.combine(unravel(flat), static))(inputs)[0]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(42), labels])

    of = jax.jit(lambda x: (x, *jax.value_and_grad(loss)(x), jax.hessian(loss)(x)))
    return [np.asarray(a) for a in of(flat)]


def test_dead_and_dormant_units():
    model, found = measured()
    first, second = hidden_layers(model)
    assert ((second == 0).all(0)).tolist() == [True, True, False, False, False]
    silent = np.array([(first == 0).all(0).mean(), 0.4])
    np.testing.assert_allclose(found["dead"]["by_layer"], silent, rtol=1e-6)
    np.testing.assert_allclose(found["dead"]["fraction"], silent.mean(), rtol=1e-6)
    np.testing.assert_allclose(found["dormant"]["by_layer"][1], 0.6, rtol=1e-6)
    np.testing.assert_allclose(found["awake"]["by_layer"][1], 0.4, rtol=1e-6)


def effective_rank(features):
    s = np.linalg.svd(features, compute_uv=False)
    p = s[s > 1e-9 * s[0]] / s.sum()
    return np.exp(-(p * np.log(p)).sum())


def test_feature_ranks():
    model, found = measured()
    for layer, h in enumerate(hidden_layers(model)):
        s = np.linalg.svd(h, compute_uv=False)
        expected = {
            "feature_effective_rank": effective_rank(h),
            "srank99": 1 + np.sum(np.cumsum(s) < 0.99 * s.sum()),
            "feature_stable_rank": np.sum(s**2) / s[0] ** 2,
        }
        assert set(found["rank"]) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found["rank"][name][layer], value, rtol=1e-3)


def test_norms():
    flat, loss, gradient, _ = derivatives()
    _, found = measured()
    np.testing.assert_allclose(found["weights"]["norm"], np.linalg.norm(flat), rtol=1e-5)
    np.testing.assert_allclose(found["weights"]["mean_magnitude"], np.abs(flat).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["gradient"]["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(found["gradient"]["norm"], np.linalg.norm(gradient), rtol=1e-4)


def test_hessian_spectrum_against_the_dense_hessian():
    exact = np.linalg.eigvalsh(np.asarray(derivatives()[3], np.float64))
    found = measured()[1]["lanczos"]
    np.testing.assert_allclose(found["extremes"], exact[[0, -1]], rtol=1e-3, atol=1e-5)
    true = (np.abs(exact) > EPSILON).mean()
    error = abs(float(found["normalised_epsilon_rank"]) - true)
    assert error < 4 * float(found["normalised_epsilon_rank_sem"])
    assert (
        found["normalised_epsilon_rank_lower"]
        <= found["normalised_epsilon_rank"]
        <= found["normalised_epsilon_rank_upper"]
    )
    assert found["resolved"] == 1
    assert 0 < true < 1
    assert found["nodes"].shape == found["weights"].shape == (40, 83)
    np.testing.assert_allclose(found["weights"].sum(axis=1), 1, rtol=1e-4)


def test_any_matrix_and_any_estimator():
    """Also in passes of 14 examples."""
    exact = np.linalg.eigvalsh(np.asarray(derivatives()[3], np.float64))
    gram, dense, hessian = (
        float(measured()[1][name]["normalised_epsilon_rank"])
        for name in ("gram", "dense", "hessian")
    )
    np.testing.assert_allclose(gram, dense, rtol=1e-6)
    np.testing.assert_allclose(hessian, (np.abs(exact) > EPSILON).mean(), rtol=1e-6)
    assert 0 < dense < hessian < 1


def test_batch_norm_uses_the_running_statistics():
    """The running means silence two of five units, none of which is dead within the batch."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(48, 3)).astype(np.float32), np.tile(np.arange(6), 8)
    stream = GrowingClasses(inputs=jnp.asarray(inputs), labels=jnp.asarray(labels))
    model, state = drawn(eqx.nn.make_with_state(BatchNormNetwork), KEY)
    mean, variance = np.array([50, 50, 0.5, -1, 0.2]), np.array([1, 4, 0.25, 9, 2])
    running = (jnp.asarray(mean, jnp.float32), jnp.asarray(variance, jnp.float32))
    learner = Learner(model, state.set(model.norm.statistics, running), algorithms.bp().optimiser)
    several = {
        "dead": probes.DeadUnits(num_examples=48),
        "dormant": probes.DormantUnits(num_examples=48),
        "rank": probes.FeatureRank(num_examples=48),
        "gradient": probes.GradientNorm(num_examples=48),
    }
    found = measure(several, learner, stream, jnp.asarray(6))  # all six classes

    first = inputs @ np.asarray(model.first.weight).T + np.asarray(model.first.bias)

    def by_hand(mean, variance):
        h = np.maximum((first - mean) / np.sqrt(variance + 1e-5), 0)
        logits = h @ np.asarray(model.last.weight).T + np.asarray(model.last.bias)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        activity = h.mean(axis=0)
        return [
            (h == 0).all(axis=0).mean(),
            (activity <= 0.025 * activity.mean()).mean(),
            effective_rank(h),
            -log_p[np.arange(48), labels].mean(),
        ]

    values = [
        found["dead"]["fraction"],
        found["dormant"]["fraction"],
        found["rank"]["feature_effective_rank"][0],
        found["gradient"]["loss"],
    ]
    expected = by_hand(mean, variance)
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    of_batch = by_hand(first.mean(axis=0), first.var(axis=0))
    assert expected[0] == 0.4
    assert of_batch[0] == 0
    assert not np.isclose(expected, of_batch, rtol=0.05).any()


QUICK = {
    "weights": probes.WeightNorm(),
    "rarely": probes.WeightNorm(when=("start",), every=2),
    "gradient": probes.GradientNorm(num_examples=20),
    "held_out": probes.DeadUnits(num_examples=18, split="held_out", when=("end",)),
}
PROBES = QUICK | {
    "dead": probes.DeadUnits(num_examples=20),
    "dormant": probes.DormantUnits(num_examples=20),
    "rank": probes.FeatureRank(num_examples=20),
    "hessian": probes.HessianSpectrum(
        num_examples=20, estimator=Lanczos(order=5, num_vectors=2), every=2
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["permuted_online", "growing_classes", "point_mass"])
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
    assert found == both | {"rarely.start", "hessian.start", "held_out.end"}
    for name in history:
        measured = np.isfinite(history[name]).reshape(3, -1).all(1).tolist()
        assert measured == [True, not name.startswith(("hessian", "rarely")), True], name


def test_start_and_end_see_the_task():
    """At the start of a task the data are new and the weights are those at the end of the task
    before."""
    setting = permuted()
    _, history = train_continual(setting.model, setting.stream, algorithms.bp(0.05), probes=QUICK)
    norms = {when: history[f"weights.{when}.norm"] for when in WHEN}
    np.testing.assert_array_equal(norms["start"][1:], norms["end"][:-1])
    assert norms["start"][0] != norms["end"][0]
    losses = {when: history[f"gradient.{when}.loss"] for when in WHEN}
    assert (losses["start"][1:] != losses["end"][:-1]).all()
    # `when` and `every` say at which tasks and times a probe measures.
    assert {name.rsplit(".", 1)[0] for name in history if "." in name} == {
        *(f"{name}.{when}" for name in ("weights", "gradient") for when in WHEN),
        "rarely.start",
        "held_out.end",
    }
    rarely = history["rarely.start.norm"]
    np.testing.assert_array_equal(rarely[::2], norms["start"][::2])
    assert np.isnan(rarely[1])
    assert np.isfinite(history["held_out.end.fraction"]).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="`epsilon` is 0, but must be finite and above 0"):
        probes.HessianSpectrum(epsilon=0)
    for batch_size, message in ((3, "3, but must divide `num_examples`, which is 10"), (0, "0")):
        with pytest.raises(ValueError, match=f"`batch_size` is {message}"):
            probes.HessianSpectrum(num_examples=10, batch_size=batch_size)
    for probe in (probes.HessianSpectrum, probes.DeadUnits, probes.FeatureRank):
        with pytest.raises(ValueError, match="`num_examples` is 0, but must be an integer of at"):
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
