"""Theorem 6.2 and Lemma 6.3 on drawn networks."""

import dataclasses
import pathlib
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from hypothesis import find, settings, strategies as st
from theory_networks import (
    cross_entropy,
    hessian,
    network,
    numerical_rank,
    squared_error,
    taps_of,
    with_weights,
)
from theory_profile import broken, COUNTS, counts_of, Tally, tried

from spectral import models, theory
from spectral.curvature import RankEstimate
from spectral.models import margin_dead, margins, MLP, pre_activations
from spectral.theory import strategies


pytestmark = pytest.mark.usefixtures("float64")
SHAPES: dict[str, dict[str, Any]] = {
    "two_layers": {"in_size": 2, "width": 4, "depth": 1, "out_size": 2},
    "deep": {"in_size": 2, "width": 3, "depth": 2, "out_size": 2},
}
LOSSES = {
    "two_layers": (squared_error, strategies.targets()),
    "deep": (cross_entropy, strategies.labels()),
}
ROUNDING = 1e-12


def dead(features):
    return (np.asarray(features) == 0).all(axis=0)


def dormant(features):
    """Units with at most half of the mean activity of their layer."""
    activity = np.abs(np.asarray(features)).mean(axis=0)
    return activity <= 0.5 * activity.mean()


def rows_of(model, marked, inputs):
    """Marks the flat parameters that enter or leave the marked units, that multiply zeros only, or
    that are before a layer of marked units."""
    weights = [(np.array(layer.weight), np.array(layer.bias)) for layer in model.layers]
    weights[0][0][:, ~np.asarray(inputs).any(axis=0)] = np.nan
    for n, units in enumerate(marked.values()):
        if units.all():
            for weight, bias in weights[: n + 1]:
                weight[:] = bias[:] = np.nan
        weights[n][0][units] = weights[n][1][units] = np.nan
        weights[n + 1][0][:, units] = np.nan
    return np.isnan(np.concatenate([x.ravel() for pair in weights for x in pair]))


def parameters(model):
    return sum(p.size for p in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def inputs_with_dead_ones():
    """Every fourth case has a zero in the place of its first input."""
    factors = st.sampled_from([1.0, 1.0, 1.0, 0.0])
    dimmed = lambda x, factor: x * jnp.asarray([factor, 1.0])[None]
    return st.builds(dimmed, strategies.inputs(), factors)


@pytest.mark.parametrize(("shape", "count"), counts_of("deep", "two_layers"))
def test_dead_units_bound_the_rank(shape, count):
    """Theorem 6.2. Rows of dead units are exactly zero."""
    options, (losses, targets) = SHAPES[shape], LOSSES[shape]
    sizes = (options["in_size"], *[options["width"]] * options["depth"], options["out_size"])
    tally = Tally()

    @tried(count, strategies.relu_networks(**options), inputs_with_dead_ones(), targets)
    def holds(model, inputs, targets):
        matrix = np.asarray(hessian(model, inputs, targets, losses))
        silent = {name: dead(features) for name, features in taps_of(model, inputs).items()}
        rows = rows_of(model, silent, inputs)
        assert not matrix[rows].any()
        assert not matrix[:, rows].any()
        bound, rank = theory.hessian_rank_bound(model, inputs), numerical_rank(matrix)
        assert rank <= bound == len(matrix) - rows.sum()
        counts = [int(units.sum()) for units in silent.values()]
        zeros = int(np.sum(~np.asarray(inputs).any(axis=0)))
        assert theory.dense_rank_bound(sizes, counts, dead_inputs=zeros) == bound
        most = theory.most_dead_units(model, rank)
        assert all(k <= m for k, m in zip(counts, most.values(), strict=True))
        # The bound counts parameters, so it is tight if every other row is used.
        tally.add(sum(counts) > 0, tight=matrix.any(axis=1).sum() == bound)

    tally.at_least(applies=0.65, tight=0.5)


def bound_on_units(model, silent):
    marked = {name: jnp.asarray(units) for name, units in silent.items()}
    return parameters(model) - theory.dead_parameters(model, marked)


def without_biases(model, silent):
    return bound_on_units(model, silent) - sum(len(layer.weight) for layer in model.layers)


def counted_twice(model, silent):
    first, second = (int(units.sum()) for units in silent.values())
    return bound_on_units(model, silent) - first * second


@pytest.mark.parametrize(
    ("units", "bound"),
    [(dormant, bound_on_units), (dead, without_biases), (dead, counted_twice)],
)
def test_wrong_counts_of_rows_are_detected(units, bound):
    """Dormant units instead of dead ones, parameters without biases, and weights between two dead
    units counted twice. The number of nonzero rows replaces the rank."""
    losses, labels = LOSSES["deep"]

    @broken(strategies.relu_networks(**SHAPES["deep"]), strategies.inputs(), labels)
    def holds(model, inputs, targets):
        matrix = np.asarray(hessian(model, inputs, targets, losses))
        silent = {name: units(features) for name, features in taps_of(model, inputs).items()}
        assert matrix.any(axis=1).sum() <= bound(model, silent)


def test_a_dormant_unit_does_not_lower_the_rank():
    """The smallest counterexample: one unit is active on one of two inputs, and the Hessian uses
    rows that would be zero if the unit were dead."""
    model = network(MLP, 1, 1, width=2, depth=1)
    hidden = ([[10.0], [0.1]], [0.5, -0.05])
    model = with_weights(model, [hidden, (np.ones((1, 2)), np.zeros(1))])
    inputs, targets = jnp.asarray([[1.0], [0.25]]), jnp.asarray([[0.0], [0.0]])
    features = taps_of(model, inputs)["hidden_0"]
    assert models.dormant(features, threshold=0.1).tolist() == [False, True]
    assert not dead(features).any()
    matrix = hessian(model, inputs, targets, squared_error)
    assert numerical_rank(matrix) > theory.dense_rank_bound((1, 2, 1), (1,))
    assert theory.hessian_rank_bound(model, inputs) == 7


def test_channels_of_a_convolution():
    """A dead channel removes its kernel, its bias and its slices of the next layer's weights."""
    options = {"channels": (2,), "kernels": (3,), "dense_sizes": (3,), "padding": "valid"}
    model = network(models.ConvNet, (1, 4, 5), 2, **options)
    where = lambda m: [m.convolutions[0].bias, m.dense[0].bias]
    biases = [jnp.asarray([-50.0, 0.3]), jnp.asarray([0.1, -50.0, 0.2])]
    model = eqx.tree_at(where, model, biases)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(3, 1, 4, 5)))
    # The channel has 9 + 1 incoming parameters and 3 outgoing weights, because one position is left
    # of it; the dense unit has 2 + 1 + 2, and one weight connects the two.
    params = parameters(model)
    assert theory.hessian_rank_bound(model, inputs) == params - (9 + 1 + 3 + 2 + 1 + 2 - 1)
    # In blank images the kernel of the living channel has no effect either.
    assert theory.hessian_rank_bound(model, 0 * inputs) == params - (9 + 1 + 3 + 2 + 1 + 2 - 1) - 9
    matrix = np.asarray(hessian(model, inputs, jnp.asarray([0, 1, 0]), cross_entropy))
    assert matrix.any(axis=1).sum() <= params - 17
    # With three dead dense units only the biases of the outputs have nonzero rows.
    assert theory.most_dead_units(model, params - 26) == {"conv_0": 2, "dense_0": 2}
    assert theory.most_dead_units(model, 2) == {"conv_0": 2, "dense_0": 3}
    assert theory.most_dead_units(model, params - 12) == {"conv_0": 0, "dense_0": 2}


def test_an_estimated_rank_bounds_dead_units():
    """Its lower bound, rounded down: the rank 8 of a spectrum that is known exactly in float32 may
    read 7.9999."""
    model = network(MLP, 3, 2, width=4, depth=1)
    others = ("value", "low", "high", "upper", "sem", "lower_sem", "upper_sem")
    numbers = dict.fromkeys(others, jnp.asarray(9.0))
    estimate = RankEstimate(**numbers, lower=jnp.asarray(7.9999), resolved=jnp.asarray(True))
    assert theory.most_dead_units(model, estimate) == theory.most_dead_units(model, 7)
    assert theory.most_dead_units(model, 7) == {"hidden_0": 3}
    assert theory.most_dead_units(model, np.float32(8.5)) == {"hidden_0": 3}
    assert theory.most_dead_units(model, 9) == {"hidden_0": 2}


def test_margins_and_pre_activations():
    model = network(MLP, **SHAPES["deep"])
    inputs = np.random.default_rng(2).normal(size=(5, 2))
    pre = eqx.filter_jit(pre_activations)(model, jnp.asarray(inputs))
    (w0, b0), (w1, b1) = ((np.asarray(m.weight), np.asarray(m.bias)) for m in model.layers[:2])
    first = inputs @ w0.T + b0
    second = np.maximum(first, 0) @ w1.T + b1
    np.testing.assert_allclose(pre["hidden_0"], first, rtol=1e-12)
    np.testing.assert_allclose(pre["hidden_1"], second, rtol=1e-12)
    gamma = np.asarray(margins(pre["hidden_1"]))
    np.testing.assert_allclose(gamma, -second.max(axis=0), rtol=1e-12)
    middle = float(np.sort(gamma)[1])
    for threshold, found in [(0.0, second.max(axis=0) <= 0), (middle, gamma >= middle)]:
        assert margin_dead(pre["hidden_1"], threshold).tolist() == found.tolist()
    doubled = network(MLP, **SHAPES["deep"], activation=models.CReLU())
    with pytest.raises(ValueError, match="one `Elementwise` for each group"):
        pre_activations(doubled, jnp.asarray(inputs))


def one_input_moved(model, old, radii, factor):
    """The first input moves from the input nearest to waking a dead unit, along the weights of that
    unit, by `factor` times its radius. Returns the unit too, or None without such a unit."""
    finite = np.flatnonzero(np.isfinite(radii) & (radii > 0))
    if not len(finite):
        return None, old
    weight = np.asarray(model.layers[0].weight)[finite[0]]
    new = old.copy()
    nearest = old[np.argmax(old @ weight)]
    new[0] = nearest + factor * radii[finite[0]] * weight / np.linalg.norm(weight)
    return finite[0], new


@COUNTS
def test_dead_units_stay_dead_within_their_radius(count):
    """Lemma 6.3 in the first layer. It is tight: a shift just beyond the radius wakes a unit."""
    tally = Tally()

    @tried(count, strategies.relu_networks(**SHAPES["deep"]), strategies.task_shifts())
    def holds(model, shift):
        old, new = np.asarray(shift.old), np.asarray(shift.new)
        radii = np.asarray(theory.persistence_radii(model, shift.old)["hidden_0"])
        assert (dead(taps_of(model, shift.old)["hidden_0"]) == (radii >= 0)).all()
        distance = theory.directed_hausdorff(new, old)
        survivors = theory.remains_dead(radii, distance)
        assert dead(taps_of(model, shift.new)["hidden_0"])[survivors].all()
        tally.add(survivors.any() and distance > 0)
        for factor in (0.999, 1.001):
            unit, moved = one_input_moved(model, old, radii, factor)
            if unit is not None:
                silent = dead(taps_of(model, jnp.asarray(moved))["hidden_0"])
                assert silent[unit] == (factor < 1)

    tally.at_least(applies=0.25)


@pytest.mark.parametrize("wrong", ["direction", "norm", "dormant"])
def test_wrong_forms_of_the_lemma_are_detected(wrong):
    """The directed distance in the other direction, the margin not divided by the norm, and the
    radius of a dormant unit."""

    @broken(strategies.relu_networks(**SHAPES["deep"]), strategies.inputs())
    def holds(model, inputs):
        # One of two equal inputs moves, so no old input is far from the new ones.
        old = np.array(inputs)
        old[0] = old[1]
        right = np.asarray(theory.persistence_radii(model, jnp.asarray(old))["hidden_0"])
        _, new = one_input_moved(model, old, right, 1.001)
        sets = (old, new) if wrong == "direction" else (new, old)
        layer, radii = model.layers[0], right
        if wrong == "norm":
            radii = -(old @ np.asarray(layer.weight).T + np.asarray(layer.bias)).max(axis=0)
        if wrong == "dormant":
            features = taps_of(model, jnp.asarray(old))["hidden_0"]
            radii = np.where(dormant(features), np.abs(radii), radii)
        survivors = theory.remains_dead(radii, theory.directed_hausdorff(*sets))
        assert dead(taps_of(model, jnp.asarray(new))["hidden_0"])[survivors].all()


def test_radii_of_units_without_weights():
    """Their pre-activation is the bias, for any input."""
    model = network(MLP, **SHAPES["deep"])
    model = with_weights(model, [(np.zeros((3, 2)), [-1.0, 0.0, 1.0]), *_pairs(model)[1:]])
    radii = theory.persistence_radii(model, jnp.asarray(np.ones((5, 2))))["hidden_0"]
    assert radii.tolist() == [np.inf, np.inf, -np.inf]


def in_float32(model):
    # By NumPy, because JAX flushes subnormal numbers.
    cast = lambda p: jnp.asarray(np.asarray(p, np.float32)) if eqx.is_inexact_array(p) else p
    return jax.tree.map(cast, model)


def test_radii_of_units_with_tiny_and_huge_weights():
    """The squares of these weights underflow or overflow. The first unit wakes 0.71 away."""
    rows = np.array([[1e-20, 1e-20], [1e-40, 0], [3e25, 4e25]])
    first = (rows, np.array([-1e-20, 0.0, -1e26]))
    model = network(MLP, **SHAPES["deep"])
    model = with_weights(model, [first, *_pairs(model)[1:]])
    at_zero = jnp.zeros((1, 2), np.float32)
    radii = theory.persistence_radii(in_float32(model), at_zero)["hidden_0"]
    np.testing.assert_allclose(radii, [0.5**0.5, 0, 2], rtol=1e-6)
    assert theory.remains_dead(radii, 0.8).tolist() == [False, False, True]
    # The products of the second unit underflow, so its margin is that of no input.
    errors = theory.radius_errors(in_float32(model), at_zero)["hidden_0"]
    assert errors[0] < 1e-6
    assert errors[1] > 100
    small = with_weights(model, [(1e-180 * rows, 1e-180 * first[1]), *_pairs(model)[1:]])
    found = theory.persistence_radii(small, jnp.zeros((1, 2)))["hidden_0"]
    np.testing.assert_allclose(found, [0.5**0.5, 0, 2], rtol=1e-12)


def test_margins_within_rounding_are_uncertain():
    """1 + 2^-25 - 1 is 0 in float32: the unit is dead as computed and alive in exact arithmetic."""
    model = network(MLP, **SHAPES["deep"])
    first = (np.array([[1, 1], [1, 1], [1, 1]]), np.array([-1.0, -1.5, 2.0]))
    model = in_float32(with_weights(model, [first, *_pairs(model)[1:]]))
    inputs = jnp.asarray([[1.0, 2**-25]], np.float32)
    radii = theory.persistence_radii(model, inputs)["hidden_0"]
    errors = theory.radius_errors(model, inputs)["hidden_0"]
    assert theory.remains_dead(radii, 0.0).tolist() == [True, True, False]
    assert theory.remains_dead(radii - errors, 0.0).tolist() == [False, True, False]


def test_rounding_changes_radii_by_less_than_their_errors():
    """The radii in float32 against those of the same weights and inputs in float64."""
    rng, largest = np.random.default_rng(5), 0.0
    for seed in range(20):
        model = in_float32(network(MLP, **SHAPES["deep"], seed=seed))
        inputs = jnp.asarray(rng.normal(size=(5, 2)), np.float32)
        exact = jax.tree.map(lambda p: p.astype(float) if eqx.is_inexact_array(p) else p, model)
        expected = theory.persistence_radii(exact, inputs.astype(float))["hidden_0"]
        found = theory.persistence_radii(model, inputs)["hidden_0"]
        errors = theory.radius_errors(model, inputs)["hidden_0"]
        assert (np.abs(found - expected) <= errors).all()
        largest = max(largest, float(np.max(np.abs(found - expected) / errors)))
    assert largest > 0.01  # the bound is not empty


def test_persistence_probabilities_include_equality():
    found = theory.persistence_probabilities(np.array([0.5, 1.0, 2.0]), np.array([1.0, 2.0]))
    assert found.tolist() == [0, 0.5, 1]


def _pairs(model):
    return [(layer.weight, layer.bias) for layer in model.layers]


@COUNTS
def test_dead_units_of_deeper_layers(count):
    """Lemma 6.3 in feature space, and with a Lipschitz constant in the space of the inputs."""
    tally = Tally()

    @tried(count, strategies.relu_networks(**SHAPES["deep"]), strategies.task_shifts())
    def holds(model, shift):
        radii = theory.persistence_radii(model, shift.old)
        measured = theory.layer_shifts(model, shift.old, shift.new)
        distance = theory.directed_hausdorff(shift.new, shift.old)
        assert measured["hidden_0"] == distance
        features, applied = taps_of(model, shift.new), False
        constants = theory.lipschitz_constants(model)
        weight = np.asarray(model.layers[0].weight)
        expected = np.array([1.0, np.linalg.norm(weight, 2)])
        np.testing.assert_allclose(list(constants.values()), expected)
        for name, constant in constants.items():
            assert measured[name] <= constant * distance * (1 + ROUNDING)
            for reach in (measured[name], constant * distance):
                survivors = theory.remains_dead(radii[name], reach)
                assert dead(features[name])[survivors].all()
            applied |= name == "hidden_1" and survivors.any() and distance > 0
        tally.add(applied)

    tally.at_least(applies=0.2)


def test_units_that_are_dead_on_drawn_tasks():
    """Against the pre-activations by NumPy. The lemma certifies only some of them."""
    model = network(MLP, **SHAPES["deep"])
    rng = np.random.default_rng(6)
    weight, bias = np.asarray(model.layers[0].weight), np.array([-3.0, -1.0, 1.0])
    model = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.asarray(bias))
    tasks = rng.normal(size=(40, 5, 2))
    found = theory.dead_on_tasks(model, map(jnp.asarray, tasks))
    first = tasks @ weight.T + bias
    assert found["hidden_0"].tolist() == (first <= 0).all(axis=1).tolist()
    second = np.maximum(first, 0) @ np.asarray(model.layers[1].weight).T
    second = second + np.asarray(model.layers[1].bias)
    assert found["hidden_1"].tolist() == (second <= 0).all(axis=1).tolist()
    fractions = theory.proportion(found["hidden_0"].sum(axis=0), len(tasks))
    assert 0 < fractions.lower[1] < fractions.value[1] < fractions.upper[1] < 1
    radii = theory.persistence_radii(model, jnp.asarray(tasks[0]))["hidden_0"]
    shifts = [theory.directed_hausdorff(new, tasks[0]) for new in tasks]
    certified = np.array([theory.remains_dead(radii, shift) for shift in shifts])
    assert (found["hidden_0"] >= certified).all()
    assert found["hidden_0"].sum() > certified.sum()
    with pytest.raises(ValueError, match="`tasks` is empty, but a fraction needs"):
        theory.dead_on_tasks(model, [])
    with pytest.raises(ValueError, match="hypothesis of at least one example"):
        theory.dead_on_tasks(model, [jnp.zeros((0, 2))])


def test_strategies_shrink_to_simple_networks():
    model = find(
        strategies.relu_networks(),
        lambda m: bool(np.any(np.asarray(m.layers[0].weight) > 1)),
        settings=settings(deadline=None, database=None, derandomize=True),
    )
    weight = np.asarray(model.layers[0].weight)
    assert sorted(np.abs(weight).ravel().tolist()) == [0] * 7 + [1.25]
    assert (np.asarray(model.layers[0].bias) == 0.25 / 8).all()


def test_strategies_draw_units_with_the_given_margin():
    """The margin on the box from -2 to 2, up to half a step of the pre-activations."""
    margin = 0.75
    dead = lambda num_units: st.just(np.full(num_units, margin))

    @tried(5, strategies.relu_networks(**SHAPES["two_layers"], dead=dead))
    def holds(model):
        weight, bias = np.asarray(model.layers[0].weight), np.asarray(model.layers[0].bias)
        largest = 2 * np.abs(weight).sum(axis=1) + bias
        np.testing.assert_array_equal(largest, -margin - 1 / 32)


def test_only_the_strategies_need_hypothesis():
    """Nothing in the package imports them."""
    package = pathlib.Path(theory.__file__).parents[1]
    needs = re.compile(r"^(from|import) (hypothesis|.*strategies)", re.MULTILINE)
    users = {p.parent.name for p in package.rglob("*.py") if needs.search(p.read_text())}
    assert users == {"strategies"}


class ResidualStream(models.AbstractNetwork):
    """Units to which later blocks add, so that they have no outgoing weights of their own."""

    inner: MLP

    def __call__(self, x):
        return self.inner(x)

    def units(self):
        return tuple(dataclasses.replace(group, outgoing=()) for group in self.inner.units())

    def fresh(self, *, key):
        return ResidualStream(self.inner.fresh(key=key))


def test_networks_outside_the_hypotheses_are_rejected():
    inputs = jnp.asarray(np.ones((2, 3)))
    sizes: dict[str, Any] = {"in_size": 3, "width": 4, "depth": 1, "out_size": 2}
    tanh = network(MLP, **sizes, activation="tanh")
    doubled = network(MLP, **sizes, activation=models.CReLU())
    normalised = network(MLP, **sizes, layer_norm=True)
    batch = network(lambda key: eqx.nn.make_with_state(BatchNormNetwork)(key=key)[0])
    for statement in (
        theory.hessian_rank_bound,
        lambda m, _: theory.most_dead_units(m, 3),
        theory.persistence_radii,
    ):
        for model in (tanh, doubled):
            with pytest.raises(ValueError, match="hypothesis that all hidden units are ReLUs"):
                statement(model, inputs)
        with pytest.raises(ValueError, match="`hidden_0` of `model` is normalised"):
            statement(normalised, inputs)
        with pytest.raises(ValueError, match="has the hypothesis that"):
            statement(batch, inputs)
    stream = ResidualStream(network(MLP, **sizes))
    with pytest.raises(ValueError, match="each unit has its own outgoing weights"):
        theory.hessian_rank_bound(stream, inputs)
    convolutions = network(models.ConvNet, (1, 4, 4), 2, channels=(2,), kernels=(3,))
    with pytest.raises(ValueError, match="`model` is of type ConvNet: pass an `MLP`"):
        theory.persistence_radii(convolutions, inputs)
    with pytest.raises(ValueError, match="`model` is of type ConvNet: pass an `MLP`"):
        theory.layer_shifts(convolutions, inputs, inputs)


def kinked(kind):
    """A network of the deep shape and inputs with pre-activations of exactly 0."""
    model = network(MLP, **SHAPES["deep"])
    inputs = np.random.default_rng(3).normal(size=(5, 2))
    pairs = [(np.array(weight), np.array(bias)) for weight, bias in _pairs(model)]
    if kind == "pruned units":
        pairs[1][0][2] = pairs[1][1][2] = 0
    if kind == "blank inputs":
        inputs[1] = 0
    if kind in ("zero biases", "blank inputs"):
        for _, bias in pairs:
            bias[:] = 0
    return with_weights(model, pairs), jnp.asarray(inputs)


def test_a_kink_on_the_data_is_rejected():
    model, inputs = kinked("none")
    assert theory.hessian_rank_bound(model, inputs) <= 29
    model, inputs = kinked("pruned units")
    with pytest.raises(ValueError, match="unit 2 of `hidden_1` has the pre-activation 0.* `as_com"):
        theory.hessian_rank_bound(model, inputs)


def assert_as_computed(model, inputs, matrix):
    """The bound counts rows of the computed matrix that are exactly zero."""
    with pytest.raises(ValueError, match="has the pre-activation 0"):
        theory.hessian_rank_bound(model, inputs)
    bound = theory.hessian_rank_bound(model, inputs, as_computed=True)
    assert np.asarray(matrix).any(axis=1).sum() <= bound
    return bound


@pytest.mark.parametrize("kind", ["pruned units", "blank inputs"])
def test_the_computed_hessian_obeys_the_bound_at_kinks(kind):
    model, inputs = kinked(kind)
    matrix = hessian(model, inputs, jnp.asarray([0, 1, 0, 1, 1]), cross_entropy)
    bound = assert_as_computed(model, inputs, matrix)
    assert bound < 29 or kind == "blank inputs"


@pytest.mark.slow
def test_computed_hessians_of_sparse_and_fresh_networks_obey_the_bound():
    """Units without connections, and a fresh actor-critic whose first observation is 0."""
    inputs = jnp.asarray(np.random.default_rng(3).normal(size=(5, 2))).at[0].set(0)
    labels = jnp.asarray([0, 1, 0, 1, 1])
    sparse = MLP(2, 2, width=4, depth=2, density=0.2, key=jax.random.key(0))
    bound = assert_as_computed(sparse, inputs, hessian(sparse, inputs, labels, cross_entropy))
    assert bound < parameters(sparse)
    fresh = models.ActorCritic(2, 2, width=3, depth=1, discrete=True, key=jax.random.key(0))
    # A dead layer of the critic hides nothing of the actor.
    fresh = eqx.tree_at(lambda m: m.critic.layers[0].bias, fresh, jnp.full(3, -100.0))

    def losses(outputs, labels):
        policy = cross_entropy(outputs.policy.logits, labels)
        return policy + jnp.sum((outputs.value - labels) ** 2)

    matrix = hessian(fresh, inputs, labels, losses)
    bound = assert_as_computed(fresh, inputs, matrix)
    assert parameters(fresh) - 3 * (2 + 1 + 1) >= bound >= np.asarray(matrix).any(axis=1).sum()


def test_a_penalty_fills_the_rows_of_dead_units():
    """Theorem 6.2 is false for a penalised loss, whose Hessian has w on the diagonal of each."""
    model, inputs = kinked("none")
    model = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.asarray([-50.0, 0.1, 0.2]))
    matrix = hessian(model, inputs, jnp.asarray([0, 1, 0, 1, 1]), cross_entropy)
    bound = theory.hessian_rank_bound(model, inputs)
    assert numerical_rank(matrix) <= bound <= 29 - 6
    assert numerical_rank(matrix + 1e-3 * np.eye(29)) == 29


def test_bad_arguments():
    model = network(MLP, 3, 2, width=4, depth=1)
    for statement in (theory.hessian_rank_bound, theory.persistence_radii):
        with pytest.raises(ValueError, match=r"`inputs` have the shape \(0, 3\): pass the inputs"):
            statement(model, jnp.asarray(np.zeros((0, 3))))
        with pytest.raises(ValueError, match="`inputs` are not all finite: pass the inputs"):
            statement(model, jnp.asarray(np.full((2, 3), np.nan)))
    for rank in (-1, np.nan):
        match = f"`rank` is {rank}, .* 26 rows: pass a rank of at least 0 and at most 26"
        with pytest.raises(ValueError, match=match):
            theory.most_dead_units(model, rank)
    with pytest.raises(ValueError, match="`rank` is 27, .* and at most 26"):
        theory.most_dead_units(model, 27)
    assert theory.most_dead_units(model, 26) == {"hidden_0": 0}
    with pytest.raises(ValueError, match="`dead_inputs` is 4, but there are 3 inputs"):
        theory.dense_rank_bound((3, 4, 2), (1,), dead_inputs=4)
    with pytest.raises(ValueError, match=r"`dead_units` is \(5,\) for hidden layers of \[4\]"):
        theory.dense_rank_bound((3, 4, 2), (5,))
    with pytest.raises(ValueError, match="must hold a number from 0 to its size for each"):
        theory.dense_rank_bound((3, 4, 2), (1, 1))
    with pytest.raises(ValueError, match="`sizes` is 0"):
        theory.dense_rank_bound((3, 0, 2), (0,))
    with pytest.raises(ValueError, match="`distance` is -1"):
        theory.remains_dead(np.ones(2), -1.0)
    with pytest.raises(ValueError, match="`distances` is empty"):
        theory.persistence_probabilities(np.ones(2), np.zeros(0))
    with pytest.raises(ValueError, match="`radii` is .* but NaN can be compared with nothing"):
        theory.persistence_probabilities(np.array([np.inf, np.nan]), np.ones(2))
    assert theory.persistence_probabilities(np.array([np.inf]), np.ones(2)) == 1
