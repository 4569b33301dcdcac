"""Probes of gradients and of curvature against NumPy, and what they say of themselves."""

import functools
import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import GrowingClasses, Rows
from jax.flatten_util import ravel_pytree
from signals import learner_of, mlp
from tables import STREAMS, tiny_images

from spectral import probes, tasks
from spectral._types import Aux
from spectral.curvature import Dense, GaussNewton, gradient_products
from spectral.models import Point


KEY = jax.random.key(5)
NUM, MINIBATCH = 12, 4
PROBES = {
    "examples": probes.ExampleGradients(num_examples=NUM),
    "ratio": probes.GradientToParameterRatio(num_examples=NUM),
    "gain": probes.QuadraticGain(num_examples=NUM, num_samples=NUM),
    "redundancy": probes.LocalRedundancy(num_examples=NUM, num_labels=None),
    "sampled": probes.LocalRedundancy(num_examples=NUM, num_labels=200),
    "kernel": probes.NeuralTangentKernel(num_examples=NUM, epsilon=0.01),
    "hessian": probes.CurvatureRanks(num_examples=NUM, estimator=Dense(), epsilon=0.01),
    "ggn": probes.CurvatureRanks(num_examples=NUM, estimator=Dense(), matrix=GaussNewton),
}


@functools.cache
def setting():
    """Made in single precision, because other tests share the images."""
    options = {"num_tasks": 3, "steps_per_task": 16, "minibatch_size": MINIBATCH}
    stream = tasks.PermutedImages(tiny_images(), standardise=True, **options)
    return stream, learner_of(mlp(6, 3, width=3, depth=1))


@eqx.filter_jit
def _found(stream, learner):
    state = stream.init(key=KEY)
    batch = stream.sample(state, learner, NUM, "train", key=KEY)
    flat, unravel = ravel_pytree(eqx.filter(learner.model, eqx.is_inexact_array))
    rest = eqx.filter(learner.model, eqx.is_inexact_array, inverse=True)
    outputs = lambda p: jax.vmap(lambda x: eqx.combine(unravel(p), rest)(x)[0])(batch.inputs)
    logs = lambda p: jax.nn.log_softmax(outputs(p))
    losses = lambda p: -logs(p)[jnp.arange(NUM), batch.labels]
    return {
        "params": flat,
        "logits": outputs(flat),
        "jacobian": jax.jacfwd(outputs)(flat),
        "losses": losses(flat),
        "gradients": jax.jacfwd(losses)(flat),
        "hessian": jax.hessian(lambda p: jnp.mean(losses(p)))(flat),
    }


@eqx.filter_jit
def _measured(chosen, stream, learner):
    state = stream.init(key=KEY)
    return {name: probe(learner, stream, state, key=KEY) for name, probe in chosen.items()}


def widened(learner):
    wide = lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x
    return jax.tree.map(wide, learner)


@functools.cache
def reference():
    stream, learner = setting()
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _found(stream, widened(learner)))


def measured(*names):
    """What the probes of these names record, in one program."""
    stream, learner = setting()
    with jax.enable_x64(True):
        found = _measured({name: PROBES[name] for name in names}, stream, widened(learner))
    for name in names:
        assert set(PROBES[name].quantities()) <= set(found[name])
    return jax.tree.map(np.asarray, found)


def check(row, expected, rtol=1e-6):
    for name, value in expected.items():
        np.testing.assert_allclose(row[name], value, rtol=rtol, atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_the_gradients_of_examples():
    own, row = reference(), measured("examples")["examples"]
    rows, loss = own["gradients"], own["losses"].mean()
    mean = rows.mean(axis=0)
    square, variance = mean @ mean, np.mean(np.sum((rows - mean) ** 2, axis=1))
    second = square + variance / MINIBATCH  # the size of the training
    layers = np.split(rows, [21], axis=1)
    bounds = [
        MINIBATCH * np.sum(p.mean(0) ** 2) / np.mean(np.sum((p - p.mean(0)) ** 2, axis=1))
        for p in layers
    ]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    others = (unit @ unit.T)[~np.eye(NUM, dtype=bool)]
    check(
        row,
        {
            "squared_norm": square,
            "variance": variance,
            "unbiased_squared_norm": square - variance / (NUM - 1),
            "noise_scale": variance / square,
            "readiness": square**2 / (loss * second),
            "strength": square / loss,
            "reliability": square / second,
            "noise_bound": bounds,
            "mean_cosine": others.mean(),
            "mean_absolute_cosine": np.abs(others).mean(),
        },
    )
    assert row["fisher_rank_by_tensor"].shape == (2,)


@pytest.mark.slow
def test_the_gain_and_the_size_of_the_gradient():
    own, found = reference(), measured("gain", "ratio")
    gain, hessian, rows, loss = (
        found["gain"],
        own["hessian"],
        own["gradients"],
        own["losses"].mean(),
    )
    mean = rows.mean(axis=0)
    square = mean @ mean
    along, noise = mean @ hessian @ mean, np.trace(hessian @ np.cov(rows.T, bias=True))
    best = square**2 / (2 * along) if along > 0 else np.nan
    total = along + noise / MINIBATCH
    noisy = square**2 / (2 * total) if total > 0 else np.nan
    check(gain, {"sharpness": along / square, "noise": noise / square, "gain": best})
    check(gain, {"relative_gain": best / loss, "relative_noisy_gain": noisy / loss})
    size = np.linalg.norm(mean) / np.linalg.norm(own["params"])
    check(found["ratio"], {"total": size})
    parts = zip(*(np.split(x, [18, 21, 30]) for x in (mean, own["params"])), strict=True)
    ratios = [np.linalg.norm(g) / np.linalg.norm(w) for g, w in parts]
    check(found["ratio"], {"by_tensor": ratios})


@pytest.mark.slow
def test_kernels_and_matrices():
    own = reference()
    names = ("redundancy", "sampled", "kernel", "hessian", "ggn")
    found = measured(*names)
    jacobian, rest = own["jacobian"], np.exp(own["logits"])
    p = rest / rest.sum(axis=1, keepdims=True)
    middle = np.einsum("no,op->nop", p, np.eye(3)) - np.einsum("no,np->nop", p, p)
    matrix = np.einsum("nap,nab,nbq->pq", jacobian, middle, jacobian) / NUM
    trace = np.trace(matrix)
    check(found["redundancy"], {"trace": trace})
    np.testing.assert_allclose(found["sampled"]["trace"], trace, rtol=0.2)
    summed = jacobian.sum(axis=1)
    kernel = np.linalg.eigvalsh(summed @ summed.T / NUM)
    check(found["kernel"], {"largest": kernel[-1], "trace": kernel.sum()})
    assert found["kernel"]["epsilon_rank"] == (kernel > 0.01).sum()
    np.testing.assert_allclose(found["kernel"]["smallest"], max(kernel[0], 0), atol=1e-10)
    for name, dense, epsilon in (("hessian", own["hessian"], 0.01), ("ggn", matrix, 0.1)):
        values = np.linalg.eigvalsh(dense)
        sizes = np.abs(values)
        fractions = sizes / sizes.sum()
        fractions = fractions[fractions > 1e-14]
        expected = {
            "epsilon_rank": (sizes > epsilon).sum(),
            "epsilon_rank_low": (sizes > epsilon).sum(),
            "normalised_epsilon_rank": (sizes > epsilon).mean(),
            "relative_epsilon_rank": (sizes > 0.01 * sizes.max()).sum(),
            "spectral_stable_rank": np.sum(sizes**2) / sizes.max() ** 2,
            "spectral_effective_rank": np.exp(-np.sum(fractions * np.log(fractions))),
            "largest": values.max(),
            "smallest": values.min(),
        }
        check(found[name], expected, rtol=1e-5)
        assert 0 < found[name]["smoothed_density_mass"] < 1


def test_the_directions_of_the_publications():
    quantities = {name: probe.quantities() for name, probe in PROBES.items()}
    better = {n: q.better for d in quantities.values() for n, q in d.items()}
    lower = {"noise_scale", "mean_cosine", "mean_absolute_cosine", "sharpness"}
    assert {n for n, b in better.items() if b == "lower"} == lower
    assert {n for n, b in better.items() if b is None} == {"largest"}
    labels = [q.label for d in quantities.values() for q in d.values()]
    assert len(set(labels)) == len(labels) - 1  # the two local redundancies


class Squares(GrowingClasses):
    """A point is fitted to targets: a network without matrices, and a loss of its own."""

    def forward(self, model, model_state, batch, *, key, inference):
        return batch.inputs * model.position[None], Aux({}, None)

    def criterion(self, outputs, batch):
        return jnp.mean(jnp.sum((outputs - batch.labels) ** 2, axis=1)) / 2, {}

    def sample(self, state, learner, num_examples, split, *, key):
        return Rows(self.inputs[:num_examples], self.labels[:num_examples], self.labels)


@functools.cache
def point():
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(2, NUM, 2)))
    return Squares(inputs=rows[0], labels=rows[1]), learner_of(Point(jnp.ones(2)))


def test_what_a_stream_cannot_answer_is_nan(caplog):
    stream, learner = point()
    caplog.set_level(logging.WARNING, logger="spectral")
    for _ in range(2):  # The reason is logged once.
        probe = probes.LocalRedundancy(num_examples=NUM)
        found = probe(learner, stream, jnp.asarray(6), key=KEY)
        assert np.isnan(found["trace"])
    (record,) = caplog.records
    assert record.getMessage() == (
        "`LocalRedundancy` records NaN: the criterion of the stream is not the likelihood of "
        "labels."
    )


@pytest.mark.slow
def test_what_a_network_cannot_answer_is_nan(caplog):
    stream, learner = point()
    caplog.set_level(logging.WARNING, logger="spectral")
    probe = probes.ExampleGradients(num_examples=NUM, minibatch_size=2)
    found = probe(learner, stream, jnp.asarray(6), key=KEY)
    assert np.isnan(found["fisher_rank"])
    assert found["fisher_rank_by_tensor"].shape == (1,)
    assert np.isfinite(found["readiness"])
    assert "no array of two or more axes" in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: probes.QuadraticGain(num_examples=5), "`num_samples` is 10.*`num_examples`"),
        (lambda: probes.QuadraticGain(minibatch_size=0), "`minibatch_size` is 0"),
        (lambda: probes.ExampleGradients(minibatch_size=0), "`minibatch_size` is 0"),
        (lambda: probes.LocalRedundancy(num_labels=0), "`num_labels` is 0"),
        (lambda: probes.NeuralTangentKernel(epsilon=0.0), "`epsilon` is 0"),
        (lambda: probes.CurvatureRanks(relative_epsilon=-1.0), "`relative_epsilon` is -1"),
        (lambda: probes.CurvatureRanks(batch_size=3, num_examples=10), "`batch_size` is 3"),
    ],
)
def test_what_is_rejected(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["growing_classes", "point_mass"])
def test_on_other_streams(name):
    """Networks with running statistics or two heads, and losses that are not likelihoods."""
    given = STREAMS[name]()
    learner = learner_of(given.model, model_state=given.model_state)
    chosen = (probes.ExampleGradients(num_examples=8), probes.NeuralTangentKernel(num_examples=8))

    @eqx.filter_jit
    def measure(stream, learner):
        # The state of the stream of growing classes is how many there are.
        state = jnp.asarray(2) if name == "growing_classes" else stream.init(key=KEY)
        return [p(learner, stream, state, key=KEY) for p in chosen]

    examples, kernel = measure(given.stream, learner)
    assert 0 < examples["reliability"] < 1
    assert examples["fisher_rank"] >= 1
    assert 0 < kernel["trace"] < np.inf


def test_declared_costs_are_the_operations_that_the_compiler_counts():
    """A declared cost is in gradient evaluations on the same examples."""
    num, size = 60, 40
    inputs = jax.ShapeDtypeStruct((num, size), float)
    weights = jax.ShapeDtypeStruct((size, size), float)
    gradients = jax.ShapeDtypeStruct((num, size, size), float)

    def loss(weights, inputs):
        return jnp.sum((jnp.tanh(inputs @ weights) @ weights) ** 2) / num

    def count(function, *arrays):
        found = jax.jit(function).lower(*arrays).cost_analysis()
        assert found is not None
        return found["flops"]

    # Two products, of which the first needs no derivative in the inputs, are 5/6 of two layers.
    gradient = count(jax.grad(loss), weights, inputs) * 6 / 5 / 2
    pairs = count(lambda g: gradient_products(g).cosines, gradients)
    declared = probes.ExampleGradients(num_examples=num).quantities()
    assert declared["mean_cosine"].cost == pytest.approx(1 + pairs / gradient, rel=0.15)
    assert declared["readiness"].cost == 1
    kernel = probes.NeuralTangentKernel(num_examples=num)
    assert kernel.quantities()["trace"].cost == declared["mean_cosine"].cost
    all_outputs = probes.NeuralTangentKernel(num_examples=num, all_outputs=True)
    assert all_outputs.quantities()["trace"].cost is None
