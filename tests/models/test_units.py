"""The parameters of hidden units, how they are renewed, and how an optimiser forgets them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import convnet, inputs_of, mlp, MODELS, resnet
from programs import equations

from spectral import algorithms, Optimiser
from spectral.models import (
    absorb_mean,
    activations_by_unit,
    ActorCritic,
    apply_network,
    CReLU,
    dead,
    Entries,
    entries_of,
    forget_units,
    renew_statistics,
    renew_units,
    unit_groups,
    UnitGroup,
)
from spectral.models.units._within import within


EXAMPLES = 6
KEY = jax.random.key(2)
# All kinds of entries: repeated, tiled, masked, and the parameters of a norm.
SPARSE = {"channels": (3,), "kernels": (3,), "dense_sizes": (6,), "density": 0.7}
QUICK = {
    "sparse": lambda key: convnet(key, padding="valid", activation=CReLU(), **SPARSE),
    "one_block": lambda key: resnet(key, blocks=(1,), dense_sizes=()),
}
slow = pytest.mark.slow
NETWORKS = [*QUICK, *(pytest.param(name, marks=slow) for name in MODELS)]
# Without a norm, which the other units share, and without padding, which adds zeros at the edges.
PLAIN = [row for row in NETWORKS if not any(n in str(row) for n in ("norm", "resnet", "block"))]


class Case(NamedTuple):
    """A network, its replaceable groups, and programs that are compiled once for all tests."""

    model: Any
    groups: list[UnitGroup]
    # model -> ((_, (outputs, taps)), gradient of a function of the outputs)
    measured: Callable[..., Any]
    # model, units of each group, key -> for each group the renewed model and the entries of units
    renewed: Callable[..., Any]


@functools.cache
def network(name: str) -> Case:
    row = (QUICK | MODELS)[name](jax.random.key(7))
    model, state = row.model, row.state
    groups = [group for group in model.units() if group.replaceable]
    x, readout = inputs_of(row, EXAMPLES), np.random.default_rng(1).normal(size=(EXAMPLES, 20))

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def measured(model):
        outputs, aux = apply_network(model, state, jnp.asarray(x), inference=True)
        rows = [y.reshape(EXAMPLES, -1) for y in jax.tree.leaves(outputs)]
        rows = jnp.concatenate(rows, axis=1)
        return jnp.sum(readout[:, : rows.shape[1]] * rows), (rows, aux.taps)

    @eqx.filter_jit
    def renewed(model, units, key):
        pairs = list(zip(groups, units, strict=True))
        new = [renew_units(model, group, marked, key=key) for group, marked in pairs]
        return new, [entries_of(model, group, marked) for group, marked in pairs]

    return Case(model, groups, measured, renewed)


def some(group: UnitGroup, *indices: int) -> np.ndarray:
    return np.isin(np.arange(group.size), indices)


def marks(case: Case, *indices: int) -> list[jax.Array]:
    """The units of these indices in every group."""
    return [jnp.asarray(some(group, *indices)) for group in case.groups]


def owners(entries: Entries, size: int) -> np.ndarray:
    """The unit of each index: copies are outermost, positions innermost."""
    return np.tile(np.repeat(np.arange(size), entries.repeat), entries.tile)


def along(entries: Entries, units: np.ndarray) -> tuple[Any, ...]:
    """The index of the entries of the marked units."""
    return (*[slice(None)] * entries.axis, units[owners(entries, units.size)])


def write(model, kinds, units, value):
    for entries in kinds:
        array = np.array(entries.where(model))
        array[along(entries, units)] = value
        model = eqx.tree_at(entries.where, model, jnp.asarray(array))
    return model


def silenced(model, group, units):
    """The model with dead marked units: incoming weights, bias and shift are 0."""
    return write(model, group.incoming + group.bias + group.shift, units, 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_only_outgoing_weights_read_a_unit(name):
    """If all other units of its layer are dead, only its outgoing weights have a gradient."""
    case = network(name)
    for group in case.groups:
        (entries,) = group.outgoing
        # Positive weights in the next layer, so that its ReLUs pass the unit on.
        positive = jnp.asarray(np.abs(entries.where(case.model)))
        ready = eqx.tree_at(entries.where, case.model, positive)
        for i in (0, group.size - 1):
            one = some(group, i)
            alone = silenced(ready, group, ~one)
            reached = np.zeros(group.size * entries.repeat * entries.tile, bool)
            # Either the first or the second copy is alive.
            for value in (4.0, -4.0)[: group.copies]:
                alone = write(alone, group.shift or group.bias, one, value)
                (_, (_, taps)), grad = case.measured(alone)
                tap = np.asarray(taps[group.name]).reshape(EXAMPLES, group.copies, group.size, -1)
                assert tap.any(axis=(0, 1, 3)).tolist() == one.tolist()
                rows = np.moveaxis(np.asarray(entries.where(grad)), entries.axis, 0)
                reached |= rows.reshape(rows.shape[0], -1).any(axis=1)
            assert reached.tolist() == one[owners(entries, group.size)].tolist()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_renewed_unit_does_not_change_the_outputs(name):
    """Renewing a dead unit changes its own activation and nothing after the layer."""
    case = network(name)
    for g, group in enumerate(case.groups):
        one = some(group, 1)
        without = silenced(case.model, group, one)
        renewed = case.renewed(without, marks(case, 1), KEY)[0][g]
        (_, (before, old)), (_, (after, new)) = (case.measured(m)[0] for m in (without, renewed))
        np.testing.assert_allclose(after, before, atol=1e-5)
        taps = (np.asarray(t[group.name]) for t in (old, new))
        a, b = (t.reshape(EXAMPLES, group.copies, group.size, -1) for t in taps)
        np.testing.assert_array_equal(a[:, :, ~one], b[:, :, ~one])
        for entries in group.incoming:
            weights = np.asarray(entries.where(renewed))[along(entries, one)]
            mask = True if entries.mask is None else np.asarray(entries.mask(renewed))[one]
            assert ((weights != 0) == mask).all()
        for value, kinds in ((1, group.scale), (0, group.bias + group.shift + group.outgoing)):
            for entries in kinds:
                assert (np.asarray(entries.where(renewed))[along(entries, one)] == value).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_entries_of_marks_the_entries_that_change(name):
    case = network(name)
    moved = jax.tree.map(
        lambda p: jnp.asarray(np.asarray(p) + np.float32(1.5)) if eqx.is_inexact_array(p) else p,
        case.model,
    )
    old = jax.tree.leaves(eqx.filter(moved, eqx.is_inexact_array))
    for renewed, marked in zip(*case.renewed(moved, marks(case, 0, 2), KEY), strict=True):
        new = jax.tree.leaves(eqx.filter(renewed, eqx.is_inexact_array))
        for a, b, c in zip(old, new, jax.tree.leaves(marked), strict=True):
            np.testing.assert_array_equal(np.asarray(a) != np.asarray(b), c)


@pytest.mark.parametrize("name", PLAIN)
def test_replacing_a_constant_unit_keeps_the_function(name):
    case = network(name)
    absorbed = eqx.filter_jit(absorb_mean)
    for g, group in enumerate(case.groups):
        for i, value in ((1, 0.7), (0, -0.4)):
            units, one = marks(case, i), some(group, i)
            constant = write(case.model, group.incoming, one, 0)
            constant = write(constant, group.bias, one, value)
            (_, (outputs, taps)), _ = case.measured(constant)
            tap = np.asarray(taps[group.name])
            means = jnp.asarray(tap.mean(axis=(0, *range(2, tap.ndim))))
            moved = absorbed(constant, group, units[g], means)
            renewed = case.renewed(moved, units, KEY)[0][g]
            np.testing.assert_allclose(case.measured(renewed)[0][1][0], outputs, atol=1e-5)
            if value > 0 or group.copies == 2:
                silent = case.renewed(constant, units, KEY)[0][g]
                assert not np.allclose(case.measured(silent)[0][1][0], outputs, atol=1e-3)


def test_renewing_many_units_equals_renewing_each():
    """The weights of a unit follow from the key and its index, also with more units than are
    written at once."""
    case, several = network("sparse"), (0, 1, 2, 3, 5)
    together = case.renewed(case.model, marks(case, *several), KEY)[0][1].dense
    rows, old = (np.asarray(m[0].weight) for m in (together, case.model.dense))
    np.testing.assert_array_equal(rows[4], old[4])
    for i in several:
        alone = case.renewed(case.model, marks(case, i), KEY)[0][1].dense[0].weight
        np.testing.assert_array_equal(rows[i], alone[i])
    gone = (np.asarray(together[1].weight) == 0).reshape(2, 2, 6)
    assert gone.all(axis=(0, 1)).tolist() == gone.any(axis=(0, 1)).tolist()
    assert np.flatnonzero(gone.all(axis=(0, 1))).tolist() == list(several)
    assert len(np.unique(rows[rows != 0])) == np.asarray(together[0].mask).sum()


@pytest.mark.parametrize(
    "name",
    [
        n
        if n in ("actor_critic", "convnet_crelu", "resnet", "gpt", "vit")
        else pytest.param(n, marks=slow)
        for n in MODELS
    ],
)
def test_groups_match_the_taps(name):
    row = MODELS[name](KEY)

    def taps(model, state, x):
        return apply_network(model, state, x, inference=True)[1].taps

    shapes = eqx.filter_eval_shape(taps, row.model, row.state, inputs_of(row, 2))
    sizes = {name: activations.shape[1] for name, activations in shapes.items()}
    groups = row.model.units()
    inside = {name for group in groups for name in group.inside}
    assert inside <= set(sizes)
    assert {n: size for n, size in sizes.items() if n not in inside} == {
        group.name: group.num_activations for group in groups
    }
    positions = {group.name: len(shapes[group.name].shape) - 2 for group in groups}
    assert all(positions[group.name] == 1 for group in groups if group.tokens)


def test_successive_layers_share_the_weights_between_them():
    model = convnet(KEY, layer_norm=True, density=0.5, activation=CReLU()).model
    layers = (*model.convolutions, *model.dense)
    for i, group in enumerate(model.units()):
        (incoming,), (bias,), (outgoing,) = group.incoming, group.bias, group.outgoing
        assert incoming.where(model) is layers[i].weight
        assert incoming.mask is not None
        assert incoming.mask(model) is layers[i].mask
        assert bias.where(model) is layers[i].bias
        assert outgoing.where(model) is layers[i + 1].weight
        assert outgoing.fed_bias is not None
        assert outgoing.fed_bias(model) is layers[i + 1].bias
        assert (outgoing.mask is None) == (i == 2)
        assert [e.where(model) for e in group.scale + group.shift] == [
            model.norms[i].weight,
            model.norms[i].bias,
        ]


def test_units_of_a_subnetwork():
    options = {"width": 3, "depth": 2, "layer_norm": True, "density": 0.5}
    model = eqx.filter_eval_shape(lambda key: ActorCritic(2, 1, **options, key=key), KEY)
    for part, groups in ((model.actor, model.units()[:2]), (model.critic, model.units()[2:])):
        for inner, outer in zip(part.units(), groups, strict=True):
            for kind in ("incoming", "bias", "outgoing", "scale", "shift", "activation"):
                for a, b in zip(getattr(inner, kind), getattr(outer, kind), strict=True):
                    assert a.where(part) is b.where(model)
                    assert (a.mask is None) == (b.mask is None)
                    assert a.mask is None or a.mask(part) is b.mask(model)
                    assert (a.fed_bias is None) == (b.fed_bias is None)
                    assert a.fed_bias is None or a.fed_bias(part) is b.fed_bias(model)


class Described(eqx.Module):
    """A network that is not an `AbstractNetwork`, with any description of its units."""

    weight: jax.Array
    groups: tuple[UnitGroup, ...] = eqx.field(static=True)

    def units(self):
        return self.groups


class WithWidth(eqx.Module):
    units: int = 4


def test_descriptions_are_checked():
    """The weights lead from four pairs of activations to three outputs."""

    def described(entries):
        group = UnitGroup("pairs", 4, (), (), (entries,), lambda key, shape: key, copies=2)
        return Described(jax.device_put(np.zeros((3, 8))), (group,))

    weight = lambda m: m.weight
    (group,) = unit_groups(described(Entries(weight, 1, tile=2)))
    assert group.name == "pairs"
    for wrong, got in (
        (Entries(weight, 1), r"an array of shape \(3, 8\), but axis 1 must have 4"),
        (Entries(weight, 0, tile=2), r"an array of shape \(3, 8\), but axis 0 must have 8"),
        (Entries(weight, 2, tile=2), r"an array of shape \(3, 8\), but axis 2 must have 8"),
        (Entries(lambda m: m.bias, 1, tile=2), "AttributeError.* but axis 1 must have 8"),
    ):
        with pytest.raises(ValueError, match=f"`outgoing` entries of the layer 'pairs' .*{got}"):
            unit_groups(described(wrong))
    with pytest.raises(TypeError, match=r"a WithWidth without a method `units\(\)`"):
        unit_groups(WithWidth())


def test_activations_by_unit():
    model = mlp(KEY, activation=CReLU()).model
    taps = {"hidden_1": jax.device_put(np.arange(16.0).reshape(2, 8)), "other": jnp.ones((2, 3))}
    found = activations_by_unit(model, taps)
    np.testing.assert_array_equal(found["hidden_1"][1], [[8, 12], [9, 13], [10, 14], [11, 15]])
    assert found["other"] is taps["other"]
    assert activations_by_unit(WithWidth(), taps) == taps


def test_statistics_of_a_subnetwork():
    model = resnet(KEY).model
    for group in model.units():
        outer = within(group, lambda pair: pair[1], prefix="second_")
        assert outer.name == f"second_{group.name}"
        norms = [where(model) for where in group.statistics]
        assert [where((None, model)) for where in outer.statistics] == norms


def test_the_sum_of_a_block_has_the_parameters_of_both_branches():
    model = resnet(KEY).model
    groups = {group.name: group for group in model.units()}
    plain, changed = model.stages[0][0], model.stages[1][0]
    branches = {"block_0_0": [(plain.second, plain.second_norm)]}
    branches["block_1_0"] = [
        (changed.second, changed.second_norm),
        (changed.skip, changed.skip_norm),
    ]
    for name, both in branches.items():
        group = groups[name]
        assert not group.replaceable
        parts = zip(group.incoming, group.bias, group.scale, group.shift, both, strict=True)
        for weight, bias, scale, shift, (layer, norm) in parts:
            assert weight.where(model) is layer.weight
            assert bias.where(model) is layer.bias
            assert (scale.where(model), shift.where(model)) == (norm.weight, norm.bias)
        assert [where(model) for where in group.statistics] == [norm for _, norm in both]
    assert [where(model) for where in groups["stem"].statistics] == [model.stem_norm]


def test_absorbing_does_not_change_a_layer_without_bias():
    model = mlp(KEY).model
    model = eqx.tree_at(lambda m: m.layers[1].bias, model, None)
    group = model.units()[0]
    same = absorb_mean(model, group, jnp.asarray(some(group, 1)), jnp.asarray(np.ones(4)))
    assert same is model


def test_indices_of_units():
    entries = Entries(lambda model: model, 1, repeat=2, tile=2)
    weight = np.arange(12.0)[None] + np.array([[0.0], [100.0]])

    @jax.jit
    def of(weight, first, second):
        taken = entries.take(weight, first)
        new = jnp.insert(taken, 1, 0.5, axis=2)
        return (
            entries.spread(jnp.arange(3)),
            entries.by_unit(weight),
            entries.mark(weight, jnp.arange(3) == 1),
            taken,
            entries.put(0 * weight, second[1:2], jnp.ones(())),
            entries.put(-weight, second, new),
        )

    found = of(weight, np.array([1, 0]), np.array([1, 3, 0]))
    spread, rows, marked, taken, same, put = (np.asarray(a) for a in found)
    # Two copies of three units at two positions: the copies are outermost, the positions innermost.
    assert spread.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
    assert sorted(rows[1].tolist()) == [2, 3, 8, 9, 102, 103, 108, 109]
    assert marked.tolist() == [(spread == 1).tolist()] * 2
    assert taken.shape == (2, 2, 2, 2)
    assert sorted(taken[:, :, 0].ravel().tolist()) == sorted(rows[1].tolist())
    assert sorted(taken[:, :, 1].ravel().tolist()) == sorted(rows[0].tolist())
    # The entries return to their place, an index beyond the last unit is ignored, and nothing else
    # changes.
    assert not same.any()
    np.testing.assert_array_equal(put, np.where(spread < 2, weight, -weight))


def test_only_a_few_rows_are_drawn():
    """A whole matrix of weights would cost more than a step of training."""
    model = mlp(KEY, width=50, depth=1).model
    (group,) = model.units()
    renew = lambda units: eqx.filter(renew_units(model, group, units, key=KEY), eqx.is_array)
    jaxpr = jax.make_jaxpr(renew)(jnp.asarray(some(group, 3)))
    draws = [e for e in equations(jaxpr.jaxpr) if e.primitive.name == "random_bits"]
    assert draws
    assert max(v.aval.size for e in draws for v in e.outvars) <= 4 * 3


def _copies_and_moments(learning_rate):
    """An optimiser that keeps a copy of the weights, and moments of the matrices only."""
    matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    base = optax.chain(optax.masked(optax.scale_by_adam(), matrices), optax.scale(-learning_rate))
    return optax.contrib.schedule_free(base, learning_rate=learning_rate)


OPTIMISERS = {
    "copies_and_moments": Optimiser(_copies_and_moments, learning_rate=0.1),
    "schedule_free": Optimiser(optax.contrib.schedule_free_sgd, learning_rate=0.1),
    "adam": algorithms.adam(0.1),
    "muon": algorithms.muon(0.1),
}


@pytest.mark.parametrize(
    ("name", "some_groups"),
    [
        ("copies_and_moments", slice(1, 2)),
        *(pytest.param(name, slice(3), marks=slow) for name in OPTIMISERS),
    ],
)
def test_forgetting_units_equals_forgetting_their_entries(name, some_groups):
    model = convnet(KEY, padding="valid", activation=CReLU()).model
    groups = model.units()[some_groups]
    rng = np.random.default_rng(0)
    random = lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype)
    grads = jax.tree.map(random, eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def forgotten(model, grads):
        optimiser = OPTIMISERS[name].init(model).apply(grads, model)[1]
        marked = [jnp.arange(g.size) != 1 for g in groups]
        expected = [
            optimiser.forget(entries_of(model, g, units), model)
            for g, units in zip(groups, marked, strict=True)
        ]
        found = [
            forget_units(optimiser, model, g, units)
            for g, units in zip(groups, marked, strict=True)
        ]
        return optimiser, expected, found

    optimiser, *both = forgotten(model, grads)
    for expected, found in zip(*both, strict=True):
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        leaves = zip(*map(jax.tree.leaves, (optimiser, expected, found)), strict=True)
        changed = 0
        for a, b, c in leaves:
            np.testing.assert_array_equal(b, c)
            changed += not np.array_equal(a, b)
        assert changed > 2


def test_renewed_statistics_are_mean_zero_and_variance_one():
    model, state, _ = resnet(KEY)
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), state)
    group = next(g for g in model.units() if g.name == "block_1_0")
    units, old = some(group, 2), [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    marked = [where(model).statistics for where in group.statistics]
    assert len(marked) == 2  # of both branches
    state = renew_statistics(model, state, group, jnp.asarray(units))
    assert state is not None
    new = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    assert sum(not np.array_equal(a, b) for a, b in zip(old, new, strict=True)) == 4
    for statistics in marked:
        mean, variance = (np.asarray(s) for s in state.get(statistics))
        assert (mean[2], variance[2]) == (0, 1)
        for values in (mean, variance):
            kept = [np.array_equal(values[~units], s[~units]) for s in old if s.size == units.size]
            assert any(kept)
    assert renew_statistics(model, None, group, jnp.asarray(units)) is None


def test_units_of_a_residual_stream_cannot_be_renewed():
    model = resnet(KEY).model
    stem = model.units()[0]
    with pytest.raises(ValueError, match="units of `stem` have no outgoing weights of their own"):
        renew_units(model, stem, jnp.asarray(some(stem, 0)), key=KEY)


def test_units_with_two_copies_are_dead_if_both_are():
    (group,) = mlp(KEY, depth=1, activation=CReLU()).model.units()
    taps = np.zeros((3, 8))
    taps[0, 5] = taps[2, 0] = 1.0
    marked = jax.jit(lambda taps: dead(group.by_unit(taps)))(taps)
    assert np.asarray(marked).tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="'hidden_0' of 8 activations, but its tap has shape"):
        group.by_unit(jnp.asarray(taps[:, :4]))
