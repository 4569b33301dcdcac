"""Probes against NumPy and against derivatives of the loss, and when they measure."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork, GrowingClasses
from networks import drawn
from signals import mlp
from tables import permuted, STREAMS, tiny_images

from spectral import algorithms, Learner, probes, tasks, train_continual
from spectral.curvature import Dense, GaussNewton, GramEigh, Hessian, Lanczos


KEY = jax.random.key(5)
WHEN = ("start", "end")
EPSILON = 1e-3


@eqx.filter_jit
def measure(several, learner, stream, state):
    """What the probes measure; `state` may be a function that returns it."""
    state = state(stream) if callable(state) else state
    return {name: probe(learner, stream, state, key=KEY) for name, probe in several.items()}


def half_dead() -> Any:
    """A network whose second hidden layer has two dead units of five and a faint one."""
    model = mlp(6, 3, width=5, depth=2)
    weight = np.array(model.layers[1].weight)
    weight[4] = 0
    bias = np.array([-100, -100, 1, 1, 1e-3], np.float32)
    second = lambda m: (m.layers[1].weight, m.layers[1].bias)
    return eqx.tree_at(second, model, (jnp.asarray(weight), jnp.asarray(bias)))


PIXELS = np.array([3, 0, 5, 1, 2, 4])  # their order in the task


def inputs_of(images):
    return np.asarray(images, np.float64).reshape(len(images), 6)[:, PIXELS] / 255


def forward(weights, inputs):
    """The activations of all layers, and the logits, for a list of pairs of weights and biases."""
    layers = [inputs]
    for weight, bias in weights[:-1]:
        layers.append(np.maximum(layers[-1] @ weight.T + bias, 0))
    weight, bias = weights[-1]
    return layers, layers[-1] @ weight.T + bias


def backward(weights, layers, slopes):
    """The derivative in all parameters of a function with these derivatives in the logits, for each
    example."""
    parts = []
    for (weight, _), h in zip(weights[::-1], layers[::-1], strict=True):
        parts += [slopes, np.einsum("no,ni->noi", slopes, h).reshape(len(h), -1)]
        slopes = (slopes @ weight) * (h > 0)
    return np.concatenate(parts[::-1], axis=1)


def unflatten(model, flat):
    pairs = []
    for layer in model.layers:
        (rows, columns), weight = layer.weight.shape, flat[: layer.weight.size]
        flat = flat[layer.weight.size :]
        pairs.append((weight.reshape(rows, columns), flat[:rows]))
        flat = flat[rows:]
    return pairs


def flatten(model):
    leaves = [np.asarray(a, np.float64) for m in model.layers for a in (m.weight, m.bias)]
    return np.concatenate([leaf.ravel() for leaf in leaves])


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def gradient(model, flat, images, labels):
    weights = unflatten(model, flat)
    layers, logits = forward(weights, inputs_of(images))
    slopes = softmax(logits) - np.eye(3)[np.asarray(labels)]
    return backward(weights, layers, slopes).mean(axis=0)


def hessian(model):
    """Of the loss on the training images, by central differences."""
    flat, images, step = flatten(model), tiny_images(), 1e-5 * np.eye(83)
    of = lambda flat: gradient(model, flat, images.train_images, images.train_labels)
    return np.stack([(of(flat + d) - of(flat - d)) / 2e-5 for d in step])


def hidden_layers(model):
    """The activations of the hidden layers on all training images."""
    weights = unflatten(model, flatten(model))
    return forward(weights, inputs_of(tiny_images().train_images))[0][1:]


@functools.cache
def measured():
    """The network, and what probes measure on all 42 training images or on all 18 held-out ones,
    from one program."""
    stream = tasks.PermutedImages(tiny_images(), steps_per_task=1, standardise=False)
    model = half_dead()
    few: dict[str, Any] = {"num_examples": 42}
    curved: dict[str, Any] = {"epsilon": EPSILON, **few}
    several = {
        "dead": probes.DeadUnits(**few),
        "dormant": probes.DormantUnits(threshold=1e-6, **few),
        "rank": probes.FeatureRank(**few),
        "weights": probes.WeightNorm(),
        "gradient": probes.GradientNorm(num_examples=18, split="held_out"),
        "hessian": probes.HessianSpectrum(estimator=Lanczos(order=20), **curved),
        "gram": probes.HessianSpectrum(matrix=GaussNewton, estimator=GramEigh(), **curved),
    }
    learner = Learner(model, None, algorithms.bp().optimiser)
    return model, measure(several, learner, stream, permuted_pixels)


def permuted_pixels(stream):
    state = stream.init(key=KEY)
    return dataclasses.replace(state, pixels=jnp.asarray(PIXELS))


def test_dead_and_dormant_units():
    model, found = measured()
    first, second = hidden_layers(model)
    assert ((second == 0).all(0)).tolist() == [True, True, False, False, False]
    silent = np.array([(first == 0).all(0).mean(), 0.4])
    np.testing.assert_allclose(found["dead"]["by_layer"], silent, rtol=1e-6)
    np.testing.assert_allclose(found["dead"]["fraction"], silent.mean(), rtol=1e-6)
    # The activity of the faint unit is between this threshold and the default.
    np.testing.assert_allclose(found["dormant"]["by_layer"], silent, rtol=1e-6)
    np.testing.assert_allclose(found["dormant"]["fraction"], silent.mean(), rtol=1e-6)


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
    model, found = measured()
    flat, images = flatten(model), tiny_images()
    np.testing.assert_allclose(found["weights"]["norm"], np.linalg.norm(flat), rtol=1e-5)
    np.testing.assert_allclose(found["weights"]["mean_magnitude"], np.abs(flat).mean(), rtol=1e-5)
    held_out = images.test_images, images.test_labels
    p = softmax(forward(unflatten(model, flat), inputs_of(held_out[0]))[1])
    loss = -np.log(p[np.arange(18), np.asarray(held_out[1])]).mean()
    np.testing.assert_allclose(found["gradient"]["loss"], loss, rtol=1e-5)
    norm = np.linalg.norm(gradient(model, flat, *held_out))
    np.testing.assert_allclose(found["gradient"]["norm"], norm, rtol=1e-4)


def test_hessian_spectrum_against_the_dense_hessian():
    model, found = measured()
    exact, found = np.linalg.eigvalsh(hessian(model)), found["hessian"]
    np.testing.assert_allclose(found["extremes"], exact[[0, -1]], rtol=1e-3, atol=1e-5)
    true = (np.abs(exact) > EPSILON).mean()
    error = abs(float(found["normalised_epsilon_rank"]) - true)
    assert error < 4 * float(found["normalised_epsilon_rank_sem"])
    assert (
        found["normalised_epsilon_rank_lower"]
        <= found["normalised_epsilon_rank"]
        <= found["normalised_epsilon_rank_upper"]
    )
    width = found["normalised_epsilon_rank_upper"] - found["normalised_epsilon_rank_lower"]
    assert found["resolved"] == (width < 0.1)
    assert 0 < true < 1
    assert found["nodes"].shape == found["weights"].shape
    assert found["nodes"].shape[1] == 20
    np.testing.assert_allclose(found["weights"].sum(axis=1), 1, rtol=1e-4)


def test_another_matrix_and_another_estimator():
    """The Gauss-Newton matrix, of which `GramEigh` knows all eigenvalues."""
    model, found = measured()
    weights = unflatten(model, flatten(model))
    layers, logits = forward(weights, inputs_of(tiny_images().train_images))
    jacobian = np.stack([backward(weights, layers, np.eye(3)[[o] * 42]) for o in range(3)], axis=1)
    p = softmax(logits)
    inner = np.einsum("no,op->nop", p, np.eye(3)) - np.einsum("no,np->nop", p, p)
    exact = np.einsum("noi,nop,npj->ij", jacobian, inner, jacobian, optimize=True) / 42
    exact, found = np.linalg.eigvalsh(exact), found["gram"]
    np.testing.assert_allclose(found["extremes"], exact[[0, -1]], rtol=1e-4, atol=1e-6)
    rank = (np.abs(exact) > EPSILON).mean()
    np.testing.assert_allclose(found["normalised_epsilon_rank"], rank, rtol=1e-6)
    assert found["resolved"]
    assert 0 < rank < (np.abs(np.linalg.eigvalsh(hessian(model))) > EPSILON).mean()


def test_defaults():
    probe = probes.HessianSpectrum()
    assert probe.matrix is Hessian
    assert probe.estimator == Lanczos()
    assert probe.epsilon == np.float32(0.1)
    assert (probe.num_examples, probe.when, probe.split) == (1000, ("start",), "train")
    assert probes.DormantUnits().threshold == 0.025
    assert probes.DeadUnits().when == ("start", "end")


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("batch_size", [None, 14])
def test_estimators_agree(batch_size):
    stream = tasks.PermutedImages(tiny_images(), steps_per_task=1, standardise=False)
    learner = Learner(half_dead(), None, algorithms.bp().optimiser)
    options: dict[str, Any] = {"epsilon": EPSILON, "num_examples": 42, "batch_size": batch_size}
    several = {
        "gram": probes.HessianSpectrum(matrix=GaussNewton, estimator=GramEigh(), **options),
        "dense": probes.HessianSpectrum(matrix=GaussNewton, estimator=Dense(), **options),
        "hessian": probes.HessianSpectrum(estimator=Dense(), **options),
    }
    found = measure(several, learner, stream, permuted_pixels)
    gram, dense, hessian = (float(f["normalised_epsilon_rank"]) for f in found.values())
    np.testing.assert_allclose(gram, dense, rtol=1e-9)
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
        "gradient": probes.GradientNorm(num_examples=48),
    }
    found = measure(several, learner, stream, jnp.asarray(6))  # all six classes

    first = inputs @ np.asarray(model.first.weight).T + np.asarray(model.first.bias)

    def by_hand(mean, variance):
        h = np.maximum((first - mean) / np.sqrt(variance + 1e-5), 0)
        logits = h @ np.asarray(model.last.weight).T + np.asarray(model.last.bias)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return (h == 0).all(axis=0).mean(), -log_p[np.arange(48), labels].mean()

    values = found["dead"]["fraction"], found["gradient"]["loss"]
    expected = by_hand(mean, variance)
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    of_batch = by_hand(first.mean(axis=0), first.var(axis=0))
    assert expected[0] == 0.4
    assert of_batch[0] == 0
    assert not np.isclose(expected, of_batch, rtol=0.05).any()


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
    assert found == both | {"hessian.start", "held_out.end"}
    for name in history:
        measured = np.isfinite(history[name]).reshape(3, -1).all(1).tolist()
        assert measured == [True, not name.startswith("hessian"), True], name


@pytest.mark.slow
def test_start_and_end_see_the_task():
    """At the start of a task the data are new and the weights are those at the end of the task
    before."""
    setting = permuted()
    _, history = train_continual(setting.model, setting.stream, algorithms.bp(0.05), probes=PROBES)
    norms = {when: history[f"weights.{when}.norm"] for when in WHEN}
    np.testing.assert_array_equal(norms["start"][1:], norms["end"][:-1])
    assert norms["start"][0] != norms["end"][0]
    losses = {when: history[f"gradient.{when}.loss"] for when in WHEN}
    assert (losses["start"][1:] != losses["end"][:-1]).all()


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
    stream = tasks.PermutedImages(tiny_images(), steps_per_task=1)
    never = {"dead": probes.DeadUnits(every=0)}
    with pytest.raises(ValueError, match=r"`probes\['dead'\].every` is 0"):
        train_continual(half_dead(), stream, algorithms.bp(), probes=never)
