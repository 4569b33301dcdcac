"""Probes of units, features and weights against NumPy, and what they record where they cannot
measure."""

import functools
import logging
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import drawn, learner_of, mlp
from tables import tiny_images

from spectral import algorithms, Ensemble, models, probes, tasks, theory, train_continual
from spectral.curvature import Risk, SoftmaxCrossEntropy
from spectral.probes._base._unanswered import _log


KEY = jax.random.key(5)
NUM = 42  # all training examples
GATES: dict[str, Any] = {
    "frozen": probes.FrozenUnits(num_examples=NUM),
    "linearised": probes.LinearisedUnits(num_examples=NUM),
    "active": probes.ActiveUnits(num_examples=NUM),
    "entropy": probes.SignEntropy(num_examples=NUM),
}
OTHERS: dict[str, Any] = {
    "twins": probes.TwinUnits(num_examples=NUM),
    "start": probes.StartLoss(num_examples=NUM),
    "singular": probes.LargestSingularValues(),
    "balanced": probes.Balanced(probes.WeightNorm()),
    "distance": probes.InitialDistance(),
    "change": probes.RepresentationChange(num_examples=NUM),
}


@functools.cache
def images():
    options: dict[str, Any] = {"num_tasks": 2, "steps_per_task": 8, "chunks_per_task": 2}
    return tasks.PermutedImages(tiny_images(), standardise=False, **options)


def two_layers():
    """A network whose last hidden layer has a dead unit, a linearised one, and two parallel ones of
    which one has twice the weights of the other, going in and out."""
    model = mlp(6, 3, width=5, depth=2)
    weight, bias = np.array(model.layers[1].weight), np.zeros(5, np.float32)
    out = np.array(model.layers[2].weight)
    bias[0], bias[1] = -100, 100
    weight[3], out[:, 3] = 2 * weight[2], 2 * out[:, 2]
    bias[2:4] = 0.1, 0.2
    where = lambda m: (m.layers[1].weight, m.layers[1].bias, m.layers[2].weight)
    return eqx.tree_at(where, model, [jnp.asarray(x) for x in (weight, bias, out)])


def dense(model, x):
    """The pre-activations and activations of the hidden layers of an MLP, and its outputs."""
    before, after = [], []
    for layer in model.layers[:-1]:
        x = x @ np.asarray(layer.weight).T + np.asarray(layer.bias)
        before.append(x)
        x = np.maximum(x, 0)
        after.append(x)
    last = model.layers[-1]
    return before, after, x @ np.asarray(last.weight).T + np.asarray(last.bias)


@functools.cache
def measured(of_gates):
    """What probes measure, the examples, the network and the network of the start."""
    stream, model, initial = images(), two_layers(), mlp(6, 3, width=5, depth=2, seed=1)

    @eqx.filter_jit
    def of(stream, learner, initial):
        state = stream.init(key=KEY)
        batch = stream.sample(state, learner, NUM, "train", key=KEY)

        def values(name, probe):
            begun = probes.Boundary(jnp.asarray(0), KEY, KEY, initial=initial)
            known = {"distance": {"initial": initial}, "change": {"boundary": begun}}.get(name, {})
            return probe(learner, stream, state, key=KEY, **known)

        chosen = GATES if of_gates else OTHERS
        return {name: values(name, probe) for name, probe in chosen.items()}, batch

    found, batch = of(stream, learner_of(model), initial)
    return jax.tree.map(np.asarray, found), jax.tree.map(np.asarray, batch), model, initial


def test_gates_of_units():
    found, batch, model, _ = measured(True)
    before, after, _ = dense(model, batch.inputs)
    dead = [(h == 0).all(0) for h in after]
    linear = [(h > 0).all(0) for h in before]
    active = [(h > 0).mean(0) for h in before]
    assert (dead[1].tolist()[0], linear[1].tolist()[1]) == (True, True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = [
            -np.nan_to_num(p * np.log2(p)) - np.nan_to_num((1 - p) * np.log2(1 - p)) for p in active
        ]
    wanted = {"frozen": dead, "linearised": linear, "active": active, "entropy": bits}
    for name, layers in wanted.items():
        column = "entropy" if name == "entropy" else "fraction"
        expected = [layer.mean() for layer in layers]
        np.testing.assert_allclose(found[name]["by_layer"], expected, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(found[name][column], np.mean(expected), rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_twins_of_units():
    found, batch, model, _ = measured(False)
    twins = found["twins"]
    for column in ("incoming", "incoming_and_outgoing"):
        np.testing.assert_allclose(twins[f"{column}_by_layer"], [0, 1 / 5], rtol=1e-6)
        np.testing.assert_allclose(twins[column], 1 / 10, rtol=1e-6)
    expected = []
    for h in dense(model, batch.inputs)[1]:
        sizes = np.linalg.norm(h, axis=0)
        cosines = h.T @ h / np.maximum(np.outer(sizes, sizes), 1e-30)
        expected.append((np.triu(cosines, 1) > 0.95).any(1).mean())
    assert expected[1] >= 1 / 5
    np.testing.assert_allclose(twins["on_data_by_layer"], expected, rtol=1e-6)


@pytest.mark.slow
def test_losses_and_weights():
    found, batch, model, initial = measured(False)
    logits = dense(model, batch.inputs)[2]
    rows = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -rows[np.arange(NUM), batch.labels].mean()
    np.testing.assert_allclose(found["start"]["loss"], loss, rtol=1e-5)
    assert OTHERS["start"].when == ("start",)
    largest = [np.linalg.norm(np.asarray(layer.weight), 2) for layer in model.layers]
    np.testing.assert_allclose(found["singular"]["by_matrix"], largest, rtol=1e-5)
    np.testing.assert_allclose(found["singular"]["largest"], max(largest), rtol=1e-5)
    flat = lambda m: np.concatenate(
        [np.ravel(p) for p in jax.tree.leaves(eqx.filter(m, eqx.is_array))]
    )
    now, then = flat(model), flat(initial)
    expected = {
        "distance": np.linalg.norm(now - then),
        "relative": np.linalg.norm(now - then) / np.linalg.norm(then),
        "growth": np.linalg.norm(now) / np.linalg.norm(then),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found["distance"][name], value, rtol=1e-5)
    assert 0 < found["balanced"]["balanced_norm"] < np.linalg.norm(now)
    quantities = OTHERS["balanced"].quantities()
    assert quantities["balanced_norm"].label == "norm of the weights, balanced weights"
    assert OTHERS["balanced"].when == ("start", "end")
    changes = []
    pairs = zip(dense(model, batch.inputs)[1], dense(initial, batch.inputs)[1], strict=True)
    for h, before in pairs:
        size = np.linalg.norm(before, axis=1)
        ratio = np.linalg.norm(h - before, axis=1)[size > 0] / size[size > 0]
        changes.append(ratio.mean())
    np.testing.assert_allclose(found["change"]["by_layer"], changes, rtol=1e-5)
    np.testing.assert_allclose(found["change"]["change"], np.mean(changes), rtol=1e-5)


class Shapes(eqx.Module):
    """A network with activations of the given shapes, and a parameter."""

    shapes: dict[str, tuple[int, ...]] = eqx.field(static=True)
    bias: Any = eqx.field(default_factory=lambda: jnp.ones(3))

    def __call__(self, x):
        return x[:3] + self.bias, {
            name: jnp.full(shape, x[0]) for name, shape in self.shapes.items()
        }


def recorded(model, chosen, caplog):
    """What probes record for a network, and what they log."""
    _log.cache_clear()
    caplog.clear()

    def of(stream, learner):
        state = stream.init(key=KEY)
        values = lambda p: p(learner, stream, state, key=KEY)
        return {name: values(probe) for name, probe in chosen.items()}

    with caplog.at_level(logging.WARNING, logger="spectral"):
        learner = learner_of(model)
        found = jax.tree.map(np.asarray, eqx.filter_jit(of)(images(), learner))
        eqx.filter_eval_shape(of, images(), learner)  # a second trace
    return found, [record.getMessage() for record in caplog.records]


OF_TAPS: dict[str, Any] = {
    name: getattr(probes, name)(num_examples=9)
    for name in ("DeadUnits", "DormantUnits", "FeatureRank", "ActiveUnits")
}
OF_UNITS: dict[str, Any] = {
    name: getattr(probes, name)(num_examples=9)
    for name in ("FrozenUnits", "LinearisedUnits", "SignEntropy", "SaturatedUnits", "TwinUnits")
}
OF_WEIGHTS = {"even": probes.Balanced(probes.WeightNorm())}


def test_a_network_that_shows_nothing_records_nan_with_the_reason_once(caplog):
    chosen = OF_TAPS | OF_UNITS | OF_WEIGHTS
    found, said = recorded(Shapes({}), chosen, caplog)
    for name, columns in found.items():
        assert all(np.isnan(values).all() for values in columns.values()), name
    named = {name: [line for line in said if line.startswith(f"`{name}`")] for name in OF_TAPS}
    assert {name: len(lines) for name, lines in named.items()} == dict.fromkeys(OF_TAPS, 1)
    assert named["DeadUnits"] == ["`DeadUnits` records NaN: the network returns no activations."]
    assert any(line.startswith("`Balanced` records NaN: `model` is a Shapes") for line in said)


@pytest.mark.slow
def test_networks_that_can_be_measured_in_part(caplog):
    found, said = recorded(Shapes({"conv": (2, 3, 3)}), OF_TAPS | OF_UNITS, caplog)
    assert np.isnan(found["FeatureRank"]["srank99"]).all()
    assert any("needs a dense hidden layer, and the network returns ['conv']" in s for s in said)
    assert found["TwinUnits"]["on_data"] == 0.5  # both channels are the first pixel
    assert np.isnan(found["TwinUnits"]["incoming_by_layer"]).all()
    assert np.isfinite(found["DeadUnits"]["fraction"])
    curved, said = recorded(
        mlp(6, 3, width=4, depth=1, activation="tanh"), OF_TAPS | OF_WEIGHTS, caplog
    )
    assert np.isnan(curved["ActiveUnits"]["fraction"])
    assert np.isnan(curved["even"]["balanced_norm"])
    assert np.isfinite(curved["DeadUnits"]["fraction"])
    # The activations of softplus are positive everywhere, its pre-activations are not.
    signs = {name: OF_UNITS[name] for name in ("SignEntropy", "LinearisedUnits")}
    smooth, _ = recorded(mlp(6, 3, width=4, depth=1, activation=jax.nn.softplus), signs, caplog)
    assert smooth["SignEntropy"]["entropy"] > 0
    assert smooth["LinearisedUnits"]["fraction"] < 1
    doubled, _ = recorded(mlp(6, 3, width=4, depth=1, activation=models.CReLU()), OF_UNITS, caplog)
    assert np.isnan(doubled["SignEntropy"]["entropy"])
    assert np.isfinite(doubled["SaturatedUnits"]["fraction"])
    assert np.isfinite(doubled["TwinUnits"]["incoming"])


@pytest.mark.slow
def test_saturated_units():
    """Against gradients in the activations that are computed by hand."""
    stream, model = images(), two_layers()
    out = np.array(model.layers[2].weight)
    out[:, 4] = 1e-7  # hardly read
    model = eqx.tree_at(lambda m: m.layers[2].weight, model, jnp.asarray(out))
    found, batch = eqx.filter_jit(
        lambda stream, learner: (
            probes.SaturatedUnits(num_examples=NUM)(learner, stream, stream.init(key=KEY), key=KEY),
            stream.sample(stream.init(key=KEY), learner, NUM, "train", key=KEY),
        )
    )(stream, learner_of(model))
    before, after, logits = dense(model, np.asarray(batch.inputs))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    delta = p - np.eye(3)[np.asarray(batch.labels)]
    second = delta @ np.asarray(model.layers[2].weight)
    first = (second * (before[1] > 0)) @ np.asarray(model.layers[1].weight)
    expected = [
        ((np.abs(g) < 1e-4 * np.maximum(np.abs(h).mean(0), 1e-8)).mean(0) > 0.99).mean()
        for h, g in zip(after, (first, second), strict=True)
    ]
    assert expected[1] == 0.2
    np.testing.assert_allclose(found["by_layer"], expected, rtol=1e-6)


@pytest.mark.slow
def test_positions_of_a_convolution_are_samples():
    """The probes of a network with convolutions, against its own functions."""
    sizes: dict[str, Any] = {"channels": (3,), "kernels": (3,), "dense_sizes": (4,)}
    model = drawn(lambda key: models.ConvNet((1, 8, 8), 3, padding="valid", **sizes, key=key))
    pixels = np.random.default_rng(0).integers(0, 255, (18, 8, 8, 1)).astype(np.uint8)
    labels = jnp.asarray(np.arange(18) % 3)
    data = tasks.ImageSet(
        name="eight",
        train_images=jnp.asarray(pixels),
        train_labels=labels,
        test_images=jnp.asarray(pixels),
        test_labels=labels,
        num_classes=3,
        max_value=255,
    )
    stream = tasks.PermutedLabels(data, num_tasks=1, loader=tasks.Loader(minibatch_size=9))
    chosen = {n: probe for n, probe in OF_UNITS.items() if n != "SaturatedUnits"}
    state = stream.init(key=KEY)
    learner = learner_of(model)
    batch = stream.sample(state, learner, 9, "train", key=KEY)
    pre = models.pre_activations(model, batch.inputs)
    for name, of in (("SignEntropy", models.sign_entropy), ("LinearisedUnits", models.linearised)):
        found = chosen[name](learner, stream, state, key=KEY)
        expected = [float(jnp.mean(of(layer), dtype=float)) for layer in pre.values()]
        np.testing.assert_allclose(found["by_layer"], expected, rtol=1e-5)
    saturated = OF_UNITS["SaturatedUnits"](learner, stream, state, key=KEY)
    assert np.isfinite(saturated["by_layer"]).all()


@pytest.mark.slow
def test_energy_of_the_residual():
    stream, learner = images(), learner_of(two_layers())
    probe = theory.ResidualEnergy(epsilon=0.1, num_examples=12)
    state = stream.init(key=KEY)
    found = probe(learner, stream, state, key=KEY)
    batch: Any = stream.sample(state, learner, 12, "train", key=KEY)
    forward = lambda model, x: jax.vmap(model)(x)[0]
    risk = Risk(forward, SoftmaxCrossEntropy(), batch.inputs, batch.labels)
    spectrum = theory.residual_spectrum(risk, learner.model)
    above = float(np.sum(np.asarray(spectrum.energies)[np.asarray(spectrum.eigenvalues) > 0.1]))
    total = float(np.sum(spectrum.energies))
    assert 0 < above < total
    np.testing.assert_allclose([found["above"], found["total"]], [above, total], rtol=1e-5)
    np.testing.assert_allclose(found["fraction"], above / total, rtol=1e-5)
    # The gradients of the losses in the outputs.
    logits = np.asarray(forward(learner.model, batch.inputs), np.float64)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    delta = p - np.eye(3)[np.asarray(batch.labels)]
    np.testing.assert_allclose(total, np.sum(delta**2) / 12, rtol=1e-5)
    with pytest.raises(ValueError, match="`epsilon` is -1"):
        theory.ResidualEnergy(epsilon=-1.0)


def test_what_history_tells_without_a_probe():
    history = {"test_accuracy": np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.3]])}
    found = probes.trivial_predictors(history, "test_accuracy")
    np.testing.assert_array_equal(found["task"], [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(found["previous"], [[np.nan, np.nan], [0.9, 0.1], [0.8, 0.2]])
    with pytest.raises(ValueError, match="`outcome`: Column 'accuracy' does not exist"):
        probes.trivial_predictors(history, "accuracy")
    norms = {"w.start.norm": np.array([2.0, np.nan, 0.0]), "w.end.norm": np.array([3.0, 4.0, 5.0])}
    np.testing.assert_array_equal(probes.weight_growth(norms, "w"), [1.5, np.nan, np.nan])
    with pytest.raises(ValueError, match=r"`history`: Column 'v.start.norm' does not exist"):
        probes.weight_growth(norms, "v")


def test_the_initial_network_must_be_known():
    learner = learner_of(two_layers())
    for probe in (probes.InitialDistance(), probes.RepresentationChange(num_examples=9)):
        with pytest.raises(ValueError, match="`initial` is None, but `.*` compares with"):
            probe(learner, images(), None, key=KEY)


@pytest.mark.slow
def test_the_loop_gives_probes_the_network_with_which_the_run_began():
    model = mlp(6, 3, width=4, depth=1)
    chosen = {
        "d": probes.InitialDistance(),
        "c": probes.RepresentationChange(num_examples=9),
        "b": probes.Balanced(probes.InitialDistance()),
    }
    algo = algorithms.bp(0.1)
    learner, history = train_continual(model, images(), algo, probes=chosen)
    plain, _ = train_continual(model, images(), algo)
    assert eqx.tree_equal(learner.model, plain.model)
    assert history["d.start.distance"][0] == history["c.start.change"][0] == 0
    distance = float(models.weight_distance(learner.model, model))
    np.testing.assert_allclose(history["d.end.distance"][-1], distance, rtol=1e-6)
    even = models.weight_distance(models.balanced(learner.model), models.balanced(model))
    np.testing.assert_allclose(history["b.end.balanced_distance"][-1], even, rtol=1e-4)
    # Members of an ensemble have their own, and a network that is trained further begins again.
    other = mlp(6, 3, width=4, depth=1, seed=1)
    both = Ensemble.of([other, model])
    _, members = train_continual(both, images(), algo, probes=chosen)
    np.testing.assert_array_equal(members["d.end.distance"][:, 1], history["d.end.distance"])
    assert (members["d.end.distance"][:, 0] != members["d.end.distance"][:, 1]).all()
    _, again = train_continual(learner, images(), algo, probes={"d": chosen["d"]})
    assert again["d.start.distance"][0] == 0
