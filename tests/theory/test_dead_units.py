"""Theorem 6.2 and Lemma 6.3 on networks that are drawn, and the definitions."""

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
from hypothesis import find, settings
from jax.flatten_util import ravel_pytree
from scipy.spatial.distance import directed_hausdorff
from theory_networks import cross_entropy, hessian, numerical_rank, squared_error, with_weights
from theory_profile import broken, COUNTS, Tally, tried

from spectral import models, theory
from spectral.models import dead, dormant, margin_dead, margins, MLP, pre_activations
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


@eqx.filter_jit
def taps_of(model, inputs):
    return jax.vmap(model)(inputs)[1]


def rows_of(model, marked):
    """Which of the flat parameters enter or leave the marked units, by writing NaN over these."""
    weights = [(np.array(layer.weight), np.array(layer.bias)) for layer in model.layers]
    for n, units in enumerate(np.asarray(m) for m in marked.values()):
        weights[n][0][units] = weights[n][1][units] = np.nan
        weights[n + 1][0][:, units] = np.nan
    poisoned = with_weights(model, [(jnp.asarray(w), jnp.asarray(b)) for w, b in weights])
    return np.isnan(ravel_pytree(eqx.filter(poisoned, eqx.is_inexact_array))[0])


@COUNTS
@pytest.mark.parametrize("shape", SHAPES)
def test_dead_units_bound_the_rank(shape, count):
    """Theorem 6.2: exactly, with no tolerance for the rows that are zero."""
    options, (losses, targets) = SHAPES[shape], LOSSES[shape]
    sizes = (options["in_size"], *[options["width"]] * options["depth"], options["out_size"])
    tally = Tally()

    @tried(count, strategies.relu_networks(**options), strategies.inputs(), targets)
    def holds(model, inputs, targets):
        matrix = np.asarray(hessian(model, inputs, targets, losses))
        silent = {name: dead(features) for name, features in taps_of(model, inputs).items()}
        rows = rows_of(model, silent)
        assert not matrix[rows].any()
        assert not matrix[:, rows].any()
        bound, rank = theory.hessian_rank_bound(model, inputs), numerical_rank(matrix)
        assert rank <= bound == len(matrix) - rows.sum()
        counts = [int(units.sum()) for units in silent.values()]
        assert theory.dense_rank_bound(sizes, counts) == bound
        most = theory.most_dead_units(model, rank)
        assert all(k <= m for k, m in zip(counts, most.values(), strict=True))
        # As tight as a count of parameters can be: every other row is used.
        tally.add(sum(counts) > 0, tight=matrix.any(axis=1).sum() == bound)

    tally.at_least(applies=0.65, tight=0.5)


def bound_on_units(model, inputs, silent):
    del inputs
    return sum(p.size for p in jax.tree.leaves(model) if eqx.is_array(p)) - (
        theory.dead_parameters(model, silent)
    )


def without_biases(model, inputs, silent):
    biases = sum(len(layer.weight) for layer in model.layers)
    return bound_on_units(model, inputs, silent) - biases


def counted_twice(model, inputs, silent):
    first, second = (int(units.sum()) for units in silent.values())
    return bound_on_units(model, inputs, silent) - first * second


@pytest.mark.parametrize(
    ("shape", "units", "bound"),
    [
        ("two_layers", dormant, bound_on_units),
        ("two_layers", dead, without_biases),
        ("deep", dead, counted_twice),
    ],
)
def test_wrong_counts_of_rows_are_found_out(shape, units, bound):
    """Dormant units in the place of dead ones, parameters without biases, and weights between two
    dead units counted twice. The rows that are not zero stand for the rank."""
    wrong = (lambda h: units(h, 0.5)) if units is dormant else units

    @broken(strategies.relu_networks(**SHAPES[shape]), strategies.inputs(), strategies.targets())
    def holds(model, inputs, targets):
        matrix = np.asarray(hessian(model, inputs, targets, squared_error))
        silent = {name: wrong(features) for name, features in taps_of(model, inputs).items()}
        assert matrix.any(axis=1).sum() <= bound(model, inputs, silent)


def test_a_dormant_unit_takes_no_rank():
    """The minimal network: one unit is active on one of two inputs, and the Hessian has the rows
    that its death would take."""
    model = MLP(1, 1, width=2, depth=1, key=jax.random.key(0))
    weights = [(jnp.array([[10.0], [0.1]]), jnp.array([0.5, -0.05]))]
    weights.append((jnp.ones((1, 2)), jnp.zeros(1)))
    model = with_weights(model, weights)
    inputs, targets = jnp.array([[1.0], [0.25]]), jnp.array([[0.0], [0.0]])
    features = taps_of(model, inputs)["hidden_0"]
    assert dormant(features, threshold=0.1).tolist() == [False, True]
    assert not dead(features).any()
    matrix = hessian(model, inputs, targets, squared_error)
    assert numerical_rank(matrix) > theory.dense_rank_bound((1, 2, 1), (1,))
    assert theory.hessian_rank_bound(model, inputs) == 7


def test_channels_of_a_convolution():
    """A dead channel takes its kernel, its bias and its slices of what comes after."""
    options = {"channels": (2,), "kernels": (3,), "dense_sizes": (3,), "padding": "valid"}
    model = models.ConvNet((1, 4, 5), 2, **options, key=jax.random.key(0))
    where = lambda m: [m.convolutions[0].bias, m.dense[0].bias]
    biases = [jnp.array([-50.0, 0.3]), jnp.array([0.1, -50.0, 0.2])]
    model = eqx.tree_at(where, model, biases)
    inputs = jax.random.normal(jax.random.key(1), (3, 1, 4, 5))
    # 9 + 1 and 3 outgoing weights of the channel (one position is left of it), then 2 + 1 + 2 of
    # the dense unit, less the weight between the two.
    params = sum(p.size for p in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    assert theory.hessian_rank_bound(model, inputs) == params - (9 + 1 + 3 + 2 + 1 + 2 - 1)
    matrix = np.asarray(hessian(model, inputs, jnp.array([0, 1, 0]), cross_entropy))
    assert matrix.any(axis=1).sum() <= params - 17
    assert theory.most_dead_units(model, params - 26) == {"conv_0": 2, "dense_0": 3}
    assert theory.most_dead_units(model, params - 12) == {"conv_0": 0, "dense_0": 2}


def test_margins_and_pre_activations(getkey):
    model = MLP(3, 2, width=4, depth=2, key=getkey())
    inputs = jax.random.normal(getkey(), (6, 3))
    first, second = pre_activations(model, inputs).values()
    (w0, b0), (w1, b1) = ((np.asarray(m.weight), np.asarray(m.bias)) for m in model.layers[:2])
    expected = np.asarray(inputs) @ w0.T + b0
    np.testing.assert_allclose(first, expected, rtol=1e-12)
    hidden = np.maximum(expected, 0)
    np.testing.assert_allclose(second, hidden @ w1.T + b1, rtol=1e-12)
    gamma = margins(second)
    np.testing.assert_array_equal(gamma, -np.asarray(second).max(axis=0))
    alive = taps_of(model, inputs)["hidden_1"]
    assert margin_dead(second, 0.0).tolist() == dead(alive).tolist()
    middle = float(jnp.sort(gamma)[1])
    assert margin_dead(second, middle).sum() == 3
    with pytest.raises(ValueError, match="one `Elementwise` for each group"):
        pre_activations(MLP(3, 2, width=4, activation=models.CReLU(), key=getkey()), inputs)


@COUNTS
def test_dead_units_stay_dead_within_their_radius(count):
    """Lemma 6.3 in the first layer; it is tight, for a shift beyond the radius wakes a unit."""
    tally = Tally()

    @tried(count, strategies.relu_networks(), strategies.task_shifts())
    def holds(model, shift):
        radii = np.asarray(theory.persistence_radii(model, shift.old)["hidden_0"])
        features = taps_of(model, shift.old)["hidden_0"]
        assert (dead(features) == (radii >= 0)).all()
        distance = theory.directed_hausdorff(shift.new, shift.old)
        survivors = theory.remains_dead(radii, distance)
        assert dead(taps_of(model, shift.new)["hidden_0"])[survivors].all()
        tally.add(survivors.any() and distance > 0, tight=True)
        finite = np.flatnonzero(np.isfinite(radii) & (radii > 0))
        if len(finite):
            weight = np.asarray(model.layers[0].weight)[finite[0]]
            pre = np.asarray(shift.old) @ weight
            nearest = np.asarray(shift.old)[np.argmax(pre)]
            far = nearest + 1.001 * radii[finite[0]] * weight / np.linalg.norm(weight)
            moved = jnp.asarray(np.asarray(shift.old).copy()).at[0].set(far)
            assert not dead(taps_of(model, moved)["hidden_0"])[finite[0]]

    tally.at_least(applies=0.25)


@pytest.mark.parametrize("wrong", ["direction", "norm", "dormant"])
def test_wrong_forms_of_the_lemma_are_found_out(wrong):
    """The one-sided distance the other way round, the margin not divided by the norm, and the
    radius of a dormant unit."""

    @broken(strategies.relu_networks(), strategies.task_shifts())
    def holds(model, shift):
        # Of two equal inputs one moves: no old input is far from the new ones.
        old = shift.old.at[0].set(shift.old[1])
        new = old.at[0].set(shift.new[0])
        radii = np.asarray(theory.persistence_radii(model, old)["hidden_0"])
        distance = theory.directed_hausdorff(new, old)
        if wrong == "direction":
            distance = theory.directed_hausdorff(old, new)
        if wrong == "norm":
            radii = np.asarray(margins(pre_activations(model, old)["hidden_0"]))
        if wrong == "dormant":
            features = taps_of(model, old)["hidden_0"]
            radii = np.where(dormant(features, threshold=0.5), np.abs(radii), radii)
        survivors = theory.remains_dead(radii, distance)
        assert dead(taps_of(model, new)["hidden_0"])[survivors].all()


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
        for name, constant in theory.lipschitz_constants(model).items():
            assert measured[name] <= constant * distance * (1 + ROUNDING)
            for reach in (measured[name], constant * distance):
                survivors = theory.remains_dead(radii[name], reach)
                assert dead(features[name])[survivors].all()
            applied |= name == "hidden_1" and survivors.any() and distance > 0
        tally.add(applied)

    tally.at_least(applies=0.2)


@COUNTS
def test_distances_of_sets(count):
    @tried(count, strategies.task_shifts(most=1.0))
    def holds(shift):
        old, new = np.asarray(shift.old), np.asarray(shift.new)
        expected = directed_hausdorff(new, old)[0]
        for nearest in (theory.Pairwise(), theory.Pairwise(batch_size=2), theory.TreeIndex()):
            found = theory.directed_hausdorff(new, old, nearest=nearest)
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        both = max(expected, directed_hausdorff(old, new)[0])
        np.testing.assert_allclose(theory.hausdorff(old, new), both, rtol=1e-12)
        assert theory.directed_hausdorff(new[:2], new) == 0
        each = np.linalg.norm(new[:, None] - old[None], axis=2).min(axis=1)
        np.testing.assert_allclose(theory.nearest_distances(new, old), each, rtol=1e-12)


def test_near_points_far_from_the_origin():
    """Inner products would lose this distance altogether."""
    old = np.array([[1e9, 1e9]])
    for nearest in (theory.Pairwise(), theory.TreeIndex()):
        found = theory.directed_hausdorff(old + [[0.0, 0.25]], old, nearest=nearest)
        assert found == 0.25


def test_strategies_shrink_to_networks_that_can_be_read():
    model = find(
        strategies.relu_networks(),
        lambda m: bool(np.any(np.asarray(m.layers[0].weight) > 1)),
        settings=settings(deadline=None, database=None, derandomize=True),
    )
    weight = np.asarray(model.layers[0].weight)
    assert sorted(np.abs(weight).ravel().tolist()) == [0] * 7 + [1.25]
    assert (np.asarray(model.layers[0].bias) == 0.25 / 8).all()


def test_only_the_strategies_need_hypothesis():
    """And nothing in the package imports them."""
    package = pathlib.Path(theory.__file__).parents[1]
    needs = re.compile(r"^(from|import) (hypothesis|.*strategies)", re.MULTILINE)
    users = {p.name for p in package.rglob("*.py") if needs.search(p.read_text())}
    assert users == {"strategies.py"}


def test_definitions():
    scores = np.array([0.9, 0.88, 0.7])
    assert theory.successful_training(scores, 0.9, tolerance=0.05).tolist() == [True, True, False]
    assert theory.plastic(scores[:2], 0.9, tolerance=0.05)
    assert not theory.plastic(scores, 0.9, tolerance=0.05)
    assert theory.tau_trainable(np.array([3, 4]), 4).tolist() == [False, True]
    found = theory.trainability(np.array([12.0, 30.0, 41.0]), 20)
    assert found.value == pytest.approx(2 / 3)
    # Clopper and Pearson: the upper end solves Pr(X <= 2) = 2.5 %, which is 1 - p^3.
    assert found.upper == pytest.approx(0.975 ** (1 / 3))
    assert theory.trainability(np.zeros(20), 1).upper == pytest.approx(1 - 0.025 ** (1 / 20))
    assert theory.trainability(np.ones(20), 1).lower == pytest.approx(0.025 ** (1 / 20))


class ResidualStream(models.AbstractNetwork):
    """Units to which later blocks add, so that no weights are theirs alone."""

    inner: MLP

    def __call__(self, x):
        return self.inner(x)

    def units(self):
        return tuple(dataclasses.replace(group, outgoing=()) for group in self.inner.units())

    def fresh(self, *, key):
        return ResidualStream(self.inner.fresh(key=key))


def test_networks_outside_the_hypotheses_are_refused(getkey):
    inputs = jnp.ones((2, 3))
    tanh = MLP(3, 2, width=4, depth=1, activation="tanh", key=getkey())
    normalised = MLP(3, 2, width=4, depth=1, layer_norm=True, key=getkey())
    doubled = MLP(3, 2, width=4, depth=1, activation=models.CReLU(), key=getkey())
    batch, _ = eqx.nn.make_with_state(BatchNormNetwork)(key=getkey())
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
    stream = ResidualStream(MLP(3, 2, width=4, depth=1, key=getkey()))
    with pytest.raises(ValueError, match="units have outgoing weights of their own"):
        theory.hessian_rank_bound(stream, inputs)
    convolutions = models.ConvNet((1, 4, 4), 2, channels=(2,), kernels=(3,), key=getkey())
    with pytest.raises(ValueError, match="`model` is a ConvNet: pass an `MLP`"):
        theory.persistence_radii(convolutions, inputs)
    with pytest.raises(ValueError, match="`model` is a ConvNet: pass an `MLP`"):
        theory.layer_shifts(convolutions, inputs, inputs)


def test_a_kink_on_the_data_is_refused(getkey):
    model = MLP(3, 2, width=4, depth=2, key=getkey())
    kinked = eqx.tree_at(lambda m: m.layers[1].weight, model, model.layers[1].weight.at[2].set(0.0))
    inputs = jax.random.normal(getkey(), (5, 3))
    assert theory.hessian_rank_bound(model, inputs) <= 46
    with pytest.raises(ValueError, match="unit 2 of `hidden_1` has the pre-activation 0"):
        theory.hessian_rank_bound(kinked, inputs)


def test_bad_numbers_are_refused(getkey):
    model = MLP(3, 2, width=4, depth=1, key=getkey())
    for statement in (theory.hessian_rank_bound, theory.persistence_radii):
        with pytest.raises(ValueError, match=r"the inputs have the shape \(0, 3\)"):
            statement(model, jnp.zeros((0, 3)))
        with pytest.raises(ValueError, match="the inputs have numbers that are not finite"):
            statement(model, jnp.full((2, 3), jnp.nan))
    for rank in (-1, 27):
        with pytest.raises(ValueError, match="`rank` is"):
            theory.most_dead_units(model, rank)
    with pytest.raises(ValueError, match=r"`dead_units` is \(5,\) for hidden layers of \[4\]"):
        theory.dense_rank_bound((3, 4, 2), (5,))
    with pytest.raises(ValueError, match="must hold one number for each"):
        theory.dense_rank_bound((3, 4, 2), (1, 1))
    points = np.zeros((2, 3))
    for bad in (np.zeros((0, 3)), np.zeros(3)):
        with pytest.raises(ValueError, match="hypothesis of at least one point"):
            theory.directed_hausdorff(bad, points)
    with pytest.raises(ValueError, match="`others` has coordinates that are not finite"):
        theory.hausdorff(points, points * np.nan)
    with pytest.raises(ValueError, match="have dimension 3 and `others` 2"):
        theory.hausdorff(points, points[:, :2])
    with pytest.raises(ValueError, match="`chunk` is 0"):
        theory.Pairwise(batch_size=0)
    with pytest.raises(ValueError, match="`distance` is -1"):
        theory.remains_dead(np.ones(2), -1.0)
    with pytest.raises(ValueError, match="`distances` is empty"):
        theory.persistence_probabilities(np.ones(2), np.zeros(0))
    with pytest.raises(ValueError, match="`scores` is empty"):
        theory.plastic(np.zeros(0), 0.5)
    with pytest.raises(ValueError, match=r"`score` has NaN at \[1\]"):
        theory.successful_training(np.array([0.5, np.nan]), 0.5)
    with pytest.raises(ValueError, match="`tolerance` is -0.1"):
        theory.successful_training(0.5, 0.5, tolerance=-0.1)
    with pytest.raises(ValueError, match="`rank` is"):
        theory.tau_trainable(-1, 2)
    with pytest.raises(ValueError, match="`trials` is 0"):
        theory.trainability(np.zeros(0), 2)
    with pytest.raises(ValueError, match="`successes` is 3"):
        theory.proportion(3, 2)
    with pytest.raises(ValueError, match="`1 - confidence` is 0"):
        theory.proportion(1, 2, confidence=1.0)
