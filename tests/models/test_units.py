import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import convnet, mlp, MODELS, resnet
from programs import equations

from spectral import algorithms, Optimiser
from spectral.models import (
    absorb_mean,
    apply_network,
    CReLU,
    dead,
    entries_of,
    forget_units,
    MLP,
    renew_statistics,
    renew_units,
)


def rows(outputs):
    """All outputs of each example, those of an actor and of a critic side by side."""
    flat = [y.reshape(y.shape[0], -1) for y in jax.tree.leaves(outputs)]
    return jnp.concatenate(flat, axis=1)


@eqx.filter_jit
def forward(model, state, x):
    outputs, aux = apply_network(model, state, x, inference=True)
    return rows(outputs), aux.taps


KEY = jax.random.key(2)
EXAMPLES = 6  # everywhere, so that each network is compiled once


@eqx.filter_jit
def renew(model, group, units, key):
    """Compiled once for a group, which keeps its identity as long as the test keeps it."""
    return renew_units(model, group, units, key=key)


def one_unit(group, i):
    return jnp.arange(group.size) == i


def write(model, kinds, units, value):
    for entries in kinds:
        new = jnp.where(entries.mark(model, units), value, entries.where(model))
        model = eqx.tree_at(entries.where, model, new)
    return model


def silenced(model, group, units):
    """With the marked units dead: nothing comes in and nothing is added."""
    return write(model, group.incoming + group.bias + group.shift, units, 0)


def replaceable(model):
    return [group for group in model.units() if group.replaceable]


@eqx.filter_jit
@eqx.filter_grad
def gradient(model, state, x, readout):
    outputs, _ = apply_network(model, state, x, inference=True)
    return jnp.sum(readout * rows(outputs))


@pytest.mark.parametrize("name", MODELS)
def test_a_unit_is_carried_on_by_its_outgoing_weights_alone(name, getkey):
    """With all others of its layer dead, only weights that multiply this unit have a gradient."""
    model, state, shape = MODELS[name](getkey())
    x = jax.random.normal(getkey(), (EXAMPLES, *shape))
    readout = jax.random.normal(getkey(), forward(model, state, x)[0].shape)
    for group in replaceable(model):
        (entries,) = group.outgoing
        # Positive weights behind, so that what is there hears the unit.
        ready = eqx.tree_at(entries.where, model, jnp.abs(entries.read(model)))
        for i in (0, group.size - 1):
            one, reached = one_unit(group, i), np.zeros(group.size * entries.tile * entries.repeat)
            alone = silenced(ready, group, ~one)
            for value in (4.0, -4.0)[: group.copies]:  # the one or the other copy is alive
                alone = write(alone, group.shift or group.bias, one, value)
                _, taps = forward(alone, state, x)
                alive = ~dead(group.by_unit(taps[group.name]))
                assert alive.tolist() == one.tolist()
                grad = entries.where(gradient(alone, state, x, readout))
                grad = np.moveaxis(np.asarray(grad), entries.axis, 0)
                reached += grad.reshape(grad.shape[0], -1).any(axis=1)
            assert (reached > 0).tolist() == entries.spread(one).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_a_new_unit_is_drawn_and_not_yet_heard(name, getkey):
    """A renewed unit moves its own activation alone, and nothing beyond the layer."""
    model, state, shape = MODELS[name](getkey())
    x = jax.random.normal(getkey(), (EXAMPLES, *shape))
    for group in replaceable(model):
        one = one_unit(group, 1)
        model_without = silenced(model, group, one)
        outputs, before = forward(model_without, state, x)
        renewed = renew(model_without, group, one, getkey())
        now, taps = forward(renewed, state, x)
        np.testing.assert_allclose(now, outputs, atol=1e-5)
        others = np.flatnonzero(~one)
        a, b = (group.by_unit(t[group.name])[:, others] for t in (taps, before))
        np.testing.assert_array_equal(a, b)
        for entries in group.incoming:
            drawn = np.asarray(entries.by_unit(entries.where(renewed)))[1]
            mask = None if entries.mask is None else entries.by_unit(entries.mask(model))[1]
            assert (drawn != 0).tolist() == np.broadcast_to(
                True if mask is None else mask, drawn.shape
            ).tolist()
        for value, kinds in ((1, group.scale), (0, group.bias + group.shift + group.outgoing)):
            for entries in kinds:
                assert (entries.by_unit(entries.where(renewed))[1] == value).all()
        again = renew(renewed, group, one, getkey())
        np.testing.assert_allclose(forward(again, state, x)[0], now, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_marks_are_the_entries_that_change(name, getkey):
    model, _, _ = MODELS[name](getkey())
    ones = jax.tree.map(
        lambda p: p + 1.5 if eqx.is_inexact_array(p) else p, model, is_leaf=eqx.is_inexact_array
    )
    params = eqx.filter(ones, eqx.is_inexact_array)
    for group in replaceable(model):
        units = jnp.arange(group.size) >= group.size - 2
        renewed = eqx.filter(renew(ones, group, units, getkey()), eqx.is_inexact_array)
        changed = jax.tree.map(lambda a, b: np.asarray(a != b), params, renewed)
        jax.tree.map(np.testing.assert_array_equal, changed, entries_of(ones, group, units))


@pytest.mark.parametrize("name", MODELS)
def test_groups_have_the_names_and_sizes_of_the_taps(name, getkey):
    model, state, shape = MODELS[name](getkey())
    _, taps = forward(model, state, jnp.zeros((EXAMPLES, *shape)))
    sizes = {name: activations.shape[1] for name, activations in taps.items()}
    assert sizes == {group.name: group.size * group.copies for group in model.units()}


CONSTANT = {
    "dense": lambda key: mlp(key),
    "crelu": lambda key: mlp(key, activation=CReLU()),
    "sparse": lambda key: mlp(key, density=0.5),
    "convolutions": lambda key: convnet(key, padding="valid"),
    "convolutions_crelu": lambda key: convnet(key, padding="valid", activation=CReLU()),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_unit_is_replaced_without_a_trace(name, getkey):
    model, state, shape = CONSTANT[name](getkey())
    x = jax.random.normal(getkey(), (EXAMPLES, *shape))
    for group in replaceable(model):
        for units, value in ((one_unit(group, 1), 0.7), (one_unit(group, 0), -0.4)):
            constant = write(model, group.incoming, units, 0)
            constant = write(constant, group.bias, units, value)
            outputs, taps = forward(constant, state, x)
            activations = taps[group.name]
            means = activations.mean(axis=(0, *range(2, activations.ndim)))
            moved = absorb_mean(constant, group, units, means)
            renewed = renew(moved, group, units, getkey())
            np.testing.assert_allclose(forward(renewed, state, x)[0], outputs, atol=1e-5)
            if value > 0 or group.copies == 2:
                silent = renew(constant, group, units, getkey())
                assert not np.allclose(forward(silent, state, x)[0], outputs, atol=1e-3)


def test_absorbing_leaves_a_layer_without_bias_alone(getkey):
    model, _, _ = mlp(getkey())
    model = eqx.tree_at(lambda m: m.layers[1].bias, model, None)
    group = model.units()[0]
    same = absorb_mean(model, group, one_unit(group, 1), jnp.ones(4))
    assert eqx.tree_equal(same, model)


def test_indices_of_units_by_counting():
    model = MLP(2, 1, width=3, depth=1, key=jax.random.key(0))
    (entries,) = model.units()[0].outgoing
    entries = type(entries)(entries.where, 1, repeat=2, tile=2)
    # Two copies of three units at two positions: the copies are outermost, the positions innermost.
    assert entries.spread(jnp.arange(3)).tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
    weight = jnp.arange(12.0)[None] + jnp.array([[0.0], [100.0]])
    rows = entries.by_unit(weight)
    assert sorted(rows[1].tolist()) == [2, 3, 8, 9, 102, 103, 108, 109]
    taken = entries.take(weight, jnp.array([1, 0]))
    assert taken.shape == (2, 2, 2, 2)
    assert sorted(taken[:, :, 0].ravel().tolist()) == sorted(rows[1].tolist())
    assert sorted(taken[:, :, 1].ravel().tolist()) == sorted(rows[0].tolist())
    # Back in its place, with a number that no unit has; nothing else moves.
    np.testing.assert_array_equal(entries.put(0 * weight, jnp.array([3]), jnp.ones(())), 0 * weight)
    put = entries.put(-weight, jnp.array([1, 3, 0]), jnp.insert(taken, 1, 0.5, axis=2))
    mine = np.asarray(entries.spread(jnp.arange(3) < 2))
    np.testing.assert_array_equal(put, np.where(mine, weight, -weight))


def test_many_units_are_renewed_as_each_would_be_alone(getkey):
    """The weights of a unit follow from the key and its number; more than are written at once."""
    model = MLP(3, 2, width=11, depth=1, density=0.6, key=getkey())
    (group,), key = model.units(), getkey()
    units = jnp.arange(11) % 3 != 0
    together = renew(model, group, units, key).layers
    rows = np.asarray(together[0].weight)
    for i in range(11):
        alone = renew(model, group, one_unit(group, i), key).layers[0].weight
        old = np.asarray(model.layers[0].weight)[i]
        np.testing.assert_array_equal(rows[i], alone[i] if units[i] else old)
    gone = np.asarray(together[1].weight) == 0
    assert gone.all(axis=0).tolist() == gone.any(axis=0).tolist() == units.tolist()
    assert len(np.unique(rows[rows != 0])) == int(together[0].mask.sum())


def test_no_more_is_drawn_than_a_few_rows(getkey):
    """A whole matrix of weights would cost more than a step of training."""
    model = MLP(40, 2, width=50, depth=1, key=getkey())
    (group,) = model.units()
    renew = lambda units: eqx.filter(renew_units(model, group, units, key=KEY), eqx.is_array)
    jaxpr = jax.make_jaxpr(renew)(one_unit(group, 3))
    draws = [e for e in equations(jaxpr.jaxpr) if e.primitive.name == "random_bits"]
    assert draws
    assert max(v.aval.size for e in draws for v in e.outvars) <= 4 * 40


def schedule_free(lr):
    """Keeps a copy of the weights."""
    return Optimiser(optax.contrib.schedule_free_sgd, learning_rate=lr)


@pytest.mark.parametrize("make", [algorithms.adam, algorithms.muon, schedule_free])
def test_units_are_forgotten_entry_by_entry(make, getkey):
    """As by marking every entry."""
    model, _, _ = convnet(getkey(), padding="valid", activation=CReLU())
    params = eqx.filter(model, eqx.is_inexact_array)
    grads = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape), params)
    optimiser = make(0.1).init(model).apply(grads, model)[1]
    for group, units in zip(replaceable(model), ([0, 1, 1], [1, 0], [1, 1, 1]), strict=True):
        marked = jnp.array(units, bool)
        expected = optimiser.forget(entries_of(model, group, marked), model)
        after = forget_units(optimiser, model, group, marked)
        assert jax.tree.structure(after) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
        assert not eqx.tree_equal(after, optimiser)


def test_renewed_statistics_are_mean_zero_and_variance_one(getkey):
    model, state, shape = resnet(getkey())
    x = 3 + 2 * jax.random.normal(getkey(), (EXAMPLES, *shape))
    for _ in range(2):
        _, aux = apply_network(model, state, x, inference=False)
        state = aux.model_state
    group = next(g for g in model.units() if g.name == "block_1_0_inner")
    (where,) = group.statistics
    norm = eqx.nn.inference_mode(where(model))
    probe = jax.random.normal(getkey(), (group.size, 3, 3))
    before, _ = norm(probe, state)
    one = one_unit(group, 2)
    clone = jax.tree.map(lambda s: s, state)
    state = renew_statistics(model, state, group, one)
    after, _ = norm(probe, state)
    np.testing.assert_allclose(after[2], probe[2] / np.sqrt(1 + norm.eps), rtol=1e-5)
    np.testing.assert_array_equal(after[np.asarray(~one)], before[np.asarray(~one)])
    changed = sum(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(clone), jax.tree.leaves(state), strict=True)
    )
    assert changed == 2  # mean and variance of one norm
    assert renew_statistics(model, None, group, one) is None


def test_what_is_refused(getkey):
    model, state, _ = resnet(getkey())
    stem = model.units()[0]
    assert not stem.replaceable
    with pytest.raises(ValueError, match="units of `stem` have no outgoing weights of their own"):
        renew_units(model, stem, one_unit(stem, 0), key=getkey())
