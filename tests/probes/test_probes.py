"""Probes against NumPy on a network with dead and faint units, and in the loop."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from signals import learner_of, mlp
from tables import STREAMS, tiny_images

from spectral import algorithms, probes, tasks, train_continual
from spectral.curvature import Dense, Lanczos


KEY = jax.random.key(5)
NUM = 42  # all training examples


@functools.cache
def half_dead():
    """A stream, and a learner whose second hidden layer has two dead units of five and a faint
    one."""
    options: dict[str, Any] = {"num_tasks": 3, "steps_per_task": 16, "chunks_per_task": 2}
    stream = tasks.PermutedImages(tiny_images(), standardise=False, **options)
    model = mlp(6, 3, width=5, depth=2)
    weight = np.array(model.layers[1].weight)
    weight[4] = 0
    bias = np.array([-100.0, -100.0, 1.0, 1.0, 1e-3], np.float32)
    where = lambda m: (m.layers[1].weight, m.layers[1].bias)
    model = eqx.tree_at(where, model, (jnp.asarray(weight), jnp.asarray(bias)))
    return stream, learner_of(model)


def loss_of(model, batch):
    """The criterion of the stream, written out."""
    logits = jax.vmap(lambda x: model(x)[0])(batch.inputs)
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(logits)), batch.labels])


SIMPLE = {
    "dead": probes.DeadUnits(num_examples=NUM),
    "dormant": probes.DormantUnits(num_examples=NUM),
    "wide_awake": probes.DormantUnits(threshold=1e-6, num_examples=NUM),
    "rank": probes.FeatureRank(num_examples=NUM),
    "weights": probes.WeightNorm(),
    "gradient": probes.GradientNorm(num_examples=NUM),
    "held_out": probes.GradientNorm(num_examples=18, split="held_out"),
}


@functools.cache
def measured():
    """What simple probes measure, the features of both layers, the losses on both splits, and the
    gradient."""
    stream, learner = half_dead()

    @eqx.filter_jit
    def of(stream, learner):
        state = stream.init(key=KEY)
        batch = stream.sample(state, learner, NUM, "train", key=KEY)
        _, taps = jax.vmap(learner.model)(batch.inputs)
        found = {name: probe(learner, stream, state, key=KEY) for name, probe in SIMPLE.items()}
        value, grads = eqx.filter_value_and_grad(loss_of)(learner.model, batch)
        other = stream.sample(state, learner, 18, "held_out", key=KEY)
        losses = {"gradient": value, "held_out": loss_of(learner.model, other)}
        del found["held_out"]["norm"]  # is not compiled then
        return found, list(taps.values()), losses, ravel_pytree(grads)[0]

    return jax.tree.map(np.asarray, of(stream, learner))


def test_dead_and_dormant_units():
    found, (first, second), *_ = measured()
    assert ((second == 0).all(0)).tolist() == [True, True, False, False, False]
    expected = np.array([(first == 0).all(0).mean(), 0.4])
    np.testing.assert_allclose(found["dead"]["by_layer"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["dead"]["fraction"], expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(found["dormant"]["by_layer"][1], 0.6, rtol=1e-6)
    np.testing.assert_allclose(found["wide_awake"]["by_layer"][1], 0.4, rtol=1e-6)


def test_feature_ranks():
    found, features, *_ = measured()
    for layer, h in enumerate(features):
        s = np.linalg.svd(h.astype(np.float64), compute_uv=False)
        s = s[s > 1e-5 * s[0]]
        p = s / s.sum()
        q, centred = s**2 / np.sum(s**2), np.linalg.svd(h - h.mean(0), compute_uv=False) ** 2
        expected = {
            "feature_effective_rank": np.exp(-np.sum(p * np.log(p))),
            "srank99": 1 + np.sum(np.cumsum(p) < 0.99),
            "feature_stable_rank": np.sum(s**2) / s[0] ** 2,
            "squared_effective_rank": np.exp(-np.sum(q * np.log(q))),
            "participation": 1 / np.sum(q**2),
            "centred_participation": np.sum(centred) ** 2 / np.sum(centred**2),
            "energy99": 1 + np.sum(np.cumsum(q) < 0.99),
        }
        assert set(found["rank"]) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found["rank"][name][layer], value, rtol=1e-3)


class Shapes(eqx.Module):
    """A network with activations of the given shapes."""

    shapes: dict[str, tuple[int, ...]] = eqx.field(static=True)

    def __call__(self, x):
        return x[:3], {name: jnp.full(shape, x[0]) for name, shape in self.shapes.items()}


def test_feature_ranks_skip_layers_with_positions():
    stream, _ = half_dead()

    def found(**shapes):
        learner = learner_of(Shapes(shapes))
        state = stream.init(key=KEY)
        return probes.FeatureRank(num_examples=NUM)(learner, stream, state, key=KEY)

    shapes = eqx.filter_eval_shape(lambda: found(conv=(2, 3, 3), dense=(4,), more=(5,)))
    assert {rank.shape for rank in shapes.values()} == {(2,)}


def test_norms():
    found, _, losses, gradient = measured()
    leaves = jax.tree.leaves(eqx.filter(half_dead()[1].model, eqx.is_inexact_array))
    flat = np.concatenate([np.ravel(leaf) for leaf in leaves])
    np.testing.assert_allclose(found["weights"]["norm"], np.linalg.norm(flat), rtol=1e-5)
    np.testing.assert_allclose(found["weights"]["mean_magnitude"], np.abs(flat).mean(), rtol=1e-5)
    # Squares of such weights are zero in float32.
    stream, learner = half_dead()
    scale = lambda x: 1e-25 * x if eqx.is_inexact_array(x) else x
    tiny = learner_of(jax.tree.map(scale, learner.model))
    size = probes.WeightNorm()(tiny, stream, None, key=KEY)["norm"]
    np.testing.assert_allclose(size, 1e-25 * np.linalg.norm(flat), rtol=1e-5)
    for name, loss in losses.items():
        np.testing.assert_allclose(found[name]["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(found["gradient"]["norm"], np.linalg.norm(gradient), rtol=1e-4)


@pytest.mark.slow
def test_the_norm_of_a_small_gradient():
    """A confident network has gradients whose squares are zero in float32. The criterion counts
    here, because its class does not say what stands for it."""
    stream, learner = half_dead()
    batch = stream.sample(stream.init(key=KEY), learner, NUM, "train", key=KEY)
    loss = lambda model: 1e-25 * loss_of(model, batch)
    probe = probes.GradientNorm(num_examples=NUM)
    expected = np.linalg.norm(ravel_pytree(eqx.filter_grad(loss)(learner.model))[0] / 1e-25) * 1e-25

    class Scaled(type(stream)):
        def criterion(self, outputs, batch):
            value, metrics = super().criterion(outputs, batch)
            return 1e-25 * value, metrics

    small = object.__new__(Scaled)
    for field in dataclasses.fields(stream):
        object.__setattr__(small, field.name, getattr(stream, field.name))
    found = probe(learner, small, stream.init(key=KEY), key=KEY)
    np.testing.assert_allclose(found["norm"], expected, rtol=1e-4)


WHEN = ("start", "end")
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


def check_columns(history, chosen):
    """Every probe measures at the times and tasks that it asks for."""
    found = {name.rsplit(".", 1)[0] for name in history if "." in name}
    assert found == {f"{name}.{when}" for name, probe in chosen.items() for when in probe.when}
    for name in history:
        every = chosen[name.split(".")[0]].every if "." in name else 1
        finite = np.isfinite(history[name]).reshape(3, -1).all(1).tolist()
        assert finite == [True, every == 1, True], name


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["permuted_online", "growing_classes", "point_mass"])
def test_all_probes_on_all_streams(stream):
    setting = STREAMS[stream]()
    options = {"model_state": setting.model_state, "probes": PROBES}
    algo = algorithms.bp(0.01)
    _, history = train_continual(setting.model, setting.stream, algo, **options)
    check_columns(history, PROBES)


class Pixels(probes.AbstractSamplingProbe):
    """The mean of each pixel, which shows the permutation of a task."""

    def measure(self, sampler, *, key):
        batch: Any = sampler.risk(key=key).inputs
        return {"mean": batch.inputs.mean(axis=0)}


def test_start_and_end_see_the_task():
    """At the start of a task the data are new and the weights are those of the previous end."""
    chosen = {
        "pixels": Pixels(num_examples=NUM),
        "weights": probes.WeightNorm(),
        "rare": probes.WeightNorm(when=("start",), every=2),
    }
    stream, _ = half_dead()
    _, history = train_continual(mlp(6, 3, depth=0), stream, algorithms.bp(0.05), probes=chosen)
    check_columns(history, chosen)
    norms = {when: history[f"weights.{when}.norm"] for when in WHEN}
    np.testing.assert_array_equal(norms["start"][1:], norms["end"][:-1])
    assert norms["start"][0] != norms["end"][0]
    means = {when: history[f"pixels.{when}.mean"] for when in WHEN}
    np.testing.assert_allclose(means["start"], means["end"], rtol=1e-6)
    for i, j in ((0, 1), (1, 2)):
        assert not np.allclose(means["start"][i], means["start"][j])


def test_bad_arguments():
    with pytest.raises(ValueError, match="`epsilon` is 0"):
        probes.HessianSpectrum(epsilon=0)
    match = "`batch_size` is 3, but must divide `num_examples`, which is 10"
    with pytest.raises(ValueError, match=match):
        probes.HessianSpectrum(num_examples=10, batch_size=3)
    for probe in (probes.HessianSpectrum, probes.DeadUnits, probes.FeatureRank):
        match = "`num_examples` is 0, but must be an integer of at least 1"
        with pytest.raises(ValueError, match=match):
            probe(num_examples=0)
    estimator: Any = Dense
    with pytest.raises(TypeError, match=r"`estimator` is the class Dense.* call it.*`Dense\(\)`"):
        probes.HessianSpectrum(estimator=estimator)
    stream, learner = half_dead()
    with pytest.raises(ValueError, match=r"`probes\['dead'\].every` is 0"):
        train_continual(
            learner.model, stream, algorithms.bp(), probes={"dead": probes.DeadUnits(every=0)}
        )
