"""Continual backpropagation against NumPy, and its invariants over the layouts of units."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from networks import Network, resnet
from signals import arrays, forward, learner_of, signal_at

from spectral import algorithms, Learner, models
from spectral.algorithms import ContinualBackprop
from spectral.algorithms._base._unit_groups import renewed
from spectral.algorithms.transforms.units._continual_backprop import UnitRecord
from spectral.models import AbstractNetwork, apply_network, Entries, UnitGroup


class TwoHeads(AbstractNetwork):
    """One hidden layer that two output layers read."""

    body: eqx.nn.Linear
    first: eqx.nn.Linear
    second: eqx.nn.Linear

    def __init__(self, *, key):
        a, b, c = jax.random.split(key, 3)
        self.body = eqx.nn.Linear(3, 4, key=a)
        self.first = eqx.nn.Linear(4, 2, key=b)
        self.second = eqx.nn.Linear(4, 1, key=c)

    def __call__(self, x, /):
        h = jax.nn.relu(self.body(x))
        return jnp.concatenate([self.first(h), self.second(h)]), {"body": h}

    def units(self):
        out = (
            Entries(lambda m: m.first.weight, 1, fed_bias=lambda m: m.first.bias),
            Entries(lambda m: m.second.weight, 1, fed_bias=lambda m: m.second.bias),
        )
        draw = jax.nn.initializers.he_uniform(in_axis=1, out_axis=0)
        weight, bias = Entries(lambda m: m.body.weight, 0), Entries(lambda m: m.body.bias, 0)
        return (UnitGroup("body", 4, (weight,), (bias,), out, draw),)

    def fresh(self, *, key):
        return TwoHeads(key=key)


class Described(AbstractNetwork):
    """A network with another description of its units."""

    inner: models.MLP
    groups: tuple[UnitGroup, ...]

    def __call__(self, x, /):
        return self.inner(x)

    def units(self):
        inside = lambda e: dataclasses.replace(e, where=lambda m: e.where(m.inner))
        parts = ("incoming", "bias", "outgoing")
        return tuple(
            dataclasses.replace(g, **{p: tuple(map(inside, getattr(g, p))) for p in parts})
            for g in self.groups
        )

    def fresh(self, *, key):
        return Described(self.inner.fresh(key=key), self.groups)


def ready(transform, learner, key, **changes):
    """A state in which all units are mature and have the given records."""
    state = transform.init(learner, key=key)
    old = lambda r: UnitRecord(r.age + 1000, r.mean, r.utility, r.pending, r.remainder)
    state = tuple(old(r) for r in state)
    for name, value in changes.items():
        state = (eqx.tree_at(lambda r, n=name: getattr(r, n), state[0], value), *state[1:])
    return state


class NumPyCBP:
    """The formulas of Dohare et al. for an MLP, one step at a time."""

    def __init__(self, sizes, rate, maturity, compensate):
        self.rate, self.maturity, self.compensate = rate, maturity, compensate
        self.age = [np.zeros(n, int) for n in sizes]
        self.f = [np.zeros(n) for n in sizes]
        self.u = [np.zeros(n) for n in sizes]
        self.owed = [0.0 for _ in sizes]

    def step(self, weights, biases, hidden, draw):
        """Changes weights and biases in place; returns the replaced units of each layer."""
        replaced = []
        for layer, h in enumerate(hidden):
            into, out = weights[layer], weights[layer + 1]
            self.age[layer] += 1
            correction = 1 - 0.99 ** self.age[layer]
            self.f[layer] = 0.99 * self.f[layer] + 0.01 * h.mean(0)
            centre = self.f[layer] / correction
            worth = np.abs(out).mean(0) * np.abs(h - centre).mean(0) / np.abs(into).mean(1)
            self.u[layer] = 0.99 * self.u[layer] + 0.01 * worth
            ranking = self.u[layer] / correction
            eligible = [i for i in range(len(ranking)) if self.age[layer][i] > self.maturity]
            self.owed[layer] += self.rate * len(eligible)
            n = int(min(np.floor(self.owed[layer]), len(eligible)))
            self.owed[layer] -= n
            replaced.append((sorted(eligible, key=lambda i: ranking[i])[:n], centre))
        for layer, (units, centre) in enumerate(replaced):
            if self.compensate:
                biases[layer + 1] += weights[layer + 1][:, units] @ centre[units]
        for layer, (units, _) in enumerate(replaced):
            for i in units:
                weights[layer][i] = draw(layer, i)
                biases[layer][i] = 0
                weights[layer + 1][:, i] = 0
                self.age[layer][i] = self.f[layer][i] = self.u[layer][i] = 0
        return [tuple(units) for units, _ in replaced]


@pytest.mark.parametrize(
    "compensate", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["published", "bare"]
)
def test_against_numpy_over_many_steps(compensate, float64, getkey):
    steps, rate = 2000, 4e-3
    model = models.MLP(3, 2, width=6, depth=2, key=getkey())
    inputs = jax.random.normal(getkey(), (steps, 2, 3))
    targets = jnp.stack([jnp.sin(3 * inputs[..., 0]), inputs[..., 1] * inputs[..., 2]], -1)
    keys = jax.random.split(getkey(), steps)
    transform = ContinualBackprop(rate, maturity=20, compensate=compensate)
    learner = learner_of(model)
    params, static = eqx.partition(learner, eqx.is_array)
    shape = signal_at(model, inputs)

    @jax.jit
    def run(params, state):
        def one(carry, xs):
            params, state = carry
            learner = eqx.combine(params, static)
            x, y, key = xs

            def loss(model):
                outputs, taps = jax.vmap(model)(x)
                return jnp.mean((outputs - y) ** 2), taps

            grads, taps = eqx.filter_grad(loss, has_aux=True)(learner.model)
            model, optimiser = learner.optimiser.apply(grads, learner.model)
            learner = type(learner)(model, None, optimiser)
            signal = eqx.tree_at(lambda s: (s.taps, s.grads), shape, (taps, grads))
            learner, state = transform.update(learner, state, signal, key=key)
            return (eqx.filter(learner, eqx.is_array), state), (
                [r.age for r in state],
                arrays(learner.model),
            )

        return jax.lax.scan(one, (params, state), (inputs, targets, keys))[1]

    ages, trained = run(params, transform.init(learner, key=getkey()))
    trained = [np.asarray(p) for p in trained]

    weights = [np.array(d.weight) for d in model.layers]
    biases = [np.array(d.bias) for d in model.layers]
    oracle = NumPyCBP([6, 6], rate, 20, compensate)
    counts = np.zeros(2, int)
    for t in range(steps):
        x, y = np.asarray(inputs[t]), np.asarray(targets[t])
        h1 = np.maximum(x @ weights[0].T + biases[0], 0)
        h2 = np.maximum(h1 @ weights[1].T + biases[1], 0)
        d3 = 2 * (h2 @ weights[2].T + biases[2] - y) / y.size
        d2 = (d3 @ weights[2]) * (h2 > 0)
        d1 = (d2 @ weights[1]) * (h1 > 0)
        for k, (d, h) in enumerate(((d1, x), (d2, h1), (d3, h2))):
            weights[k] -= 0.1 * d.T @ h
            biases[k] -= 0.1 * d.sum(0)
        draw_key = jax.random.split(keys[t])[1]

        def draw(layer, unit, draw_key=draw_key):
            for number in (layer, 0, unit):
                draw_key = jax.random.fold_in(draw_key, number)
            return np.asarray(model.units()[layer].draw(draw_key, (1, weights[layer].shape[1])))[0]

        units = oracle.step(weights, biases, [h1, h2], draw)
        counts += [len(u) for u in units]
        for layer in range(2):
            np.testing.assert_array_equal(oracle.age[layer], ages[layer][t])
        for ours, theirs in zip(trained[::2], weights, strict=True):
            np.testing.assert_allclose(ours[t], theirs, rtol=1e-7, atol=1e-9)
        for ours, theirs in zip(trained[1::2], biases, strict=True):
            np.testing.assert_allclose(ours[t], theirs, rtol=1e-7, atol=1e-9)
    assert (counts > 30).all()


def test_the_lowest_corrected_utility_among_the_mature(getkey):
    """.1 .9 .3 .7 .5, of which .1 is too young and .7 stands for 0.07 in its first steps."""
    model = models.MLP(3, 2, width=5, depth=1, key=getkey())
    transform = ContinualBackprop(1.0, maturity=100)
    ages = jnp.array([3, 500, 500, 500, 500])
    utility = jnp.array([0.1, 0.9, 0.3, 0.7, 0.5])
    record = transform.init(learner_of(model), key=getkey())[0]
    record = UnitRecord(ages, record.mean, utility, record.pending, record.remainder)
    for due, expected in ((0, []), (1, [2]), (2, [2, 4]), (4, [1, 2, 3, 4])):
        chosen = transform._lowest(record, jnp.asarray(due))
        assert np.flatnonzero(chosen).tolist() == expected
    # Bias correction: unit 0, just mature, has seen a tenth of the weight of its running mean.
    slow = ContinualBackprop(1.0, maturity=100, decay=0.999)
    ages = jnp.array([101, 100_000, 100_000, 100_000, 100_000])
    record = UnitRecord(ages, record.mean, utility, record.pending, record.remainder)
    assert np.flatnonzero(slow._lowest(record, jnp.asarray(1))).tolist() == [2]
    assert np.argmin(utility) == 0


@pytest.mark.parametrize(("rate", "units", "steps"), [(1e-3, 7, 3000), (3e-11, 1000, 60_000)])
def test_replacements_owed_are_rate_times_eligible(rate, units, steps, getkey):
    """Also where the fraction of a step is lost in the rounding of what is owed already."""
    model = models.MLP(1, 1, width=units, depth=1, key=getkey())
    transform = ContinualBackprop(rate, maturity=100)
    record = transform.init(learner_of(model), key=getkey())[0]
    record = UnitRecord(
        record.age + 200, record.mean, record.utility, record.pending, jnp.asarray(0.9)
    )

    def step(record, _):
        return transform._charged(record)

    last, due = jax.jit(lambda r: jax.lax.scan(step, r, length=steps))(record)
    owed = float(last.remainder) + float(transform.replacement_rate) * int(last.pending) - 0.9
    np.testing.assert_allclose(int(due.sum()) + owed, rate * units * steps, rtol=1e-3)
    assert int(due.sum()) == int(0.9 + rate * units * steps)


def test_the_young_are_not_counted(getkey):
    model = models.MLP(1, 1, width=4, depth=1, key=getkey())
    transform = ContinualBackprop(1.0, maturity=10)
    record = transform.init(learner_of(model), key=getkey())[0]
    for ages, expected in (([10, 10, 10, 10], 0), ([11, 10, 11, 2], 2), ([11] * 4, 4)):
        now = UnitRecord(
            jnp.array(ages), record.mean, record.utility, record.pending, record.remainder
        )
        assert int(transform._charged(now)[1]) == expected


def crelu(key):
    return models.MLP(3, 2, width=4, depth=2, activation=models.CReLU(), key=key)


def pictures(key):
    """Convolution to convolution, convolution to dense through pooling and flattening, dense."""
    return models.ConvNet(
        (1, 11, 11),
        2,
        channels=(4, 4),
        kernels=(2, 2),
        dense_sizes=(4,),
        padding="valid",
        key=key,
    )


LAYOUTS = {
    "dense": lambda key: (models.MLP(3, 2, width=4, depth=1, key=key), (3,)),
    "two_heads": lambda key: (TwoHeads(key=key), (3,)),
}
MORE_LAYOUTS = LAYOUTS | {
    "crelu": lambda key: (crelu(key), (3,)),
    "convolutions": lambda key: (pictures(key), (1, 11, 11)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compensate", [True, False])
def test_what_a_replacement_changes(layout, compensate, float64, getkey):
    """The function loses what the unit contributed, and gains its mean with compensation."""
    model, shape = LAYOUTS[layout](getkey())
    inputs = jax.random.normal(getkey(), (1, 16, *shape))
    learner = learner_of(model, algorithms.adam(0.1))
    grads = jax.tree.map(jnp.ones_like, eqx.filter(model, eqx.is_inexact_array))
    model, optimiser = learner.optimiser.apply(grads, model)
    learner = type(learner)(model, None, optimiser)
    transform = ContinualBackprop(0.3, compensate=compensate)  # 1.2 of 4 units
    utility = jnp.array([3.0, 1e-3, 2.0, 3.0])
    group = model.units()[0]
    mean = jax.random.uniform(getkey(), (group.size, group.copies))
    state = ready(transform, learner, getkey(), utility=utility, mean=mean)
    signal = signal_at(model, inputs)
    after, state = eqx.filter_jit(transform.update)(learner, state, signal, key=getkey())
    marks = models.entries_of(model, group, jnp.arange(4) == 1)

    (outputs, aux) = forward(model, None, inputs[0], key=None, inference=False)
    h = np.asarray(aux.taps[group.name])
    f = (0.99 * np.asarray(mean)[1, 0] + 0.01 * h[:, 1].mean()) / (1 - 0.99**1001)
    out = np.concatenate([np.asarray(e.where(model)) for e in group.outgoing])[:, 1]
    lost = np.outer(h[:, 1] - (f if compensate else 0), out)
    new = forward(after.model, None, inputs[0], key=None, inference=False)[0]
    np.testing.assert_allclose(new, outputs - lost, atol=1e-10)

    for entries in group.outgoing:
        assert not np.any(entries.where(after.model)[:, 1])
    assert float(group.bias[0].where(after.model)[1]) == 0
    assert state[0].age.tolist() == [1001, 0, 1001, 1001]
    assert float(state[0].utility[1]) == float(state[0].mean[1, 0]) == 0
    np.testing.assert_allclose(float(state[0].remainder), 0.2)
    fresh = learner.optimiser.init(model)
    kept = zip(
        *(jax.tree.leaves(o.state) for o in (after.optimiser, optimiser, fresh)), strict=True
    )
    expected = jax.tree.leaves(marks) * 4
    for (a, b, c), m in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(a, np.where(m, c, b))


@pytest.mark.parametrize("layout", MORE_LAYOUTS)
def test_constant_units_are_replaced_without_a_trace(layout, float64, getkey):
    """One in each layer: of no utility, so it is chosen; its contribution goes to the biases."""
    model, shape = MORE_LAYOUTS[layout](getkey())
    for i, group in enumerate(model.units()):
        weight, bias = group.incoming[0].where, group.bias[0].where
        model = eqx.tree_at(weight, model, weight(model).at[1].set(0))
        # The others are active on some inputs: a dead unit would be of no utility either.
        model = eqx.tree_at(bias, model, jnp.full(4, 10.0 * 4**i).at[1].set(0.7))
    inputs = jax.random.normal(getkey(), (1, 8, *shape))
    transform = ContinualBackprop(0.25, maturity=3)
    state = transform.init(learner_of(model), key=getkey())
    learner, update = learner_of(model), eqx.filter_jit(transform.update)
    signal = signal_at(model, inputs)
    for _ in range(4):
        for group in learner.model.units():
            assert float(group.bias[0].where(learner.model)[1]) == 0.7
        learner, state = update(learner, state, signal, key=getkey())
    for group, record in zip(learner.model.units(), state, strict=True):
        assert record.age.tolist() == [4, 0, 4, 4]
        assert np.any(group.incoming[0].where(learner.model)[1])
    before = forward(model, None, inputs[0], key=None, inference=False)[0]
    after = forward(learner.model, None, inputs[0], key=None, inference=False)[0]
    np.testing.assert_allclose(after, before, rtol=1e-11, atol=1e-11)


def two_trunks(key):
    model = models.ActorCritic(3, 2, width=5, depth=2, activation="tanh", key=key)
    layers = {
        f"{trunk}_hidden_{i}": lambda m, t=trunk, i=i: (*getattr(m, t).layers[i : i + 2], None)
        for trunk in ("actor", "critic")
        for i in range(2)
    }
    return Network(model, None, (3,)), layers


def residual(key):
    layers = {
        "block_0_0_inner": lambda m: _block(m.stages[0][0]),
        "block_1_0_inner": lambda m: _block(m.stages[1][0]),
        "dense_0": lambda m: (m.dense[0], m.dense[1], None),
    }
    return resnet(key, dense_sizes=(5,)), layers


def _block(block):
    return block.first, block.second, block.first_norm


@pytest.mark.parametrize("make", [two_trunks, residual])
def test_a_whole_update_against_numpy(make, getkey):
    """Which units are replaced, and all that changes with them: nothing else does."""
    (model, state, shape), layers = make(getkey())
    model = jax.tree.map(lambda x: x + 0.1 if eqx.is_inexact_array(x) else x, model)
    x = jax.random.normal(getkey(), (6, *shape))
    _, aux = apply_network(model, state, x, inference=False)
    learner = learner_of(model, algorithms.adam(0.1), aux.model_state)
    params = eqx.filter(model, eqx.is_inexact_array)
    optimiser = learner.optimiser.apply(jax.tree.map(jnp.ones_like, params), model)[1]
    learner = Learner(model, aux.model_state, optimiser)
    transform = ContinualBackprop(0.3)  # 1.2 of 4 units, 1.5 of 5; 0.6 of 2 is none yet
    records = ready(transform, learner, getkey())
    signal = signal_at(model, x[None], taps=aux.taps)
    old = jax.tree.map(np.asarray, params)
    update = eqx.filter_jit(transform.update)
    after, records = update(learner, records, signal, key=getkey())

    replaceable = [group.name for group in model.units() if group.replaceable]
    assert replaceable == list(layers)
    expected = jax.tree.map(np.array, params)
    touched = jax.tree.map(lambda p: np.zeros(p.shape, bool), params)
    for (name, of), record in zip(layers.items(), records, strict=True):
        into, out, norm = of(old)
        h = np.moveaxis(np.asarray(aux.taps[name]), 1, -1).reshape(-1, into.bias.size)
        f = h.mean(0) * 0.01 / (1 - 0.99**1001)
        others = lambda w, axis: tuple(a for a in range(w.ndim) if a != axis)
        worth = np.abs(out.weight).mean(others(out.weight, 1)) * np.abs(h - f).mean(0)
        worth /= np.abs(into.weight).mean(others(into.weight, 0))
        due = int(0.3 * worth.size)
        units = np.argsort(worth)[:due]
        assert np.flatnonzero(np.asarray(record.age) == 0).tolist() == units.tolist()
        owed = float(record.remainder + 0.3 * record.pending)
        np.testing.assert_allclose(owed, 0.3 * worth.size - due, rtol=1e-5)
        new_into, new_out, new_norm = of(expected)
        marks_into, marks_out, marks_norm = of(touched)
        reach = out.weight.reshape(*out.weight.shape[:2], -1).sum(-1)
        new_out.bias[...] += reach[:, units] @ f[units]
        drawn = np.asarray(of(after.model)[0].weight)[units]
        assert np.all(drawn != into.weight[units])
        new_into.weight[units], new_into.bias[units], new_out.weight[:, units] = drawn, 0, 0
        marks_into.weight[units] = marks_into.bias[units] = marks_out.weight[:, units] = True
        if norm is not None:
            new_norm.weight[units], new_norm.bias[units] = 1, 0
            marks_norm.weight[units] = marks_norm.bias[units] = True
            states: Any = (aux.model_state, after.model_state)
            where = of(model)[2].statistics
            first, mean = (np.asarray(s.get(where)[0]) for s in states)
            np.testing.assert_array_equal(mean, np.where(record.age == 0, 0, first))
            assert np.all(first != 0)
    for a, b in zip(arrays(after.model), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    marks = jax.tree.leaves(touched)
    assert 0 < sum(m.sum() for m in marks) < sum(m.size for m in marks)
    for copy in ("mean", "square", "mean_bias", "square_bias"):
        kept = (jax.tree.leaves(getattr(o.state, copy)) for o in (optimiser, after.optimiser))
        for a, b, m in zip(*kept, marks, strict=True):
            np.testing.assert_array_equal(b, np.where(m, 1 if "bias" in copy else 0, a))


def test_new_weights_are_drawn_as_the_network_draws_them(getkey):
    model = models.MLP(50, 2, width=40, depth=1, key=getkey())
    learner, transform = learner_of(model), ContinualBackprop(1.0)
    state = ready(transform, learner, getkey())
    signal = signal_at(model, jnp.ones((1, 1, 50)))
    after, _ = eqx.filter_jit(transform.update)(learner, state, signal, key=getkey())
    drawn = np.asarray(after.model.layers[0].weight)
    bound = (6 / 50) ** 0.5
    assert np.abs(drawn).max() <= bound
    np.testing.assert_allclose(drawn.var(), bound**2 / 3, rtol=0.1)
    assert not np.any(drawn == np.asarray(model.layers[0].weight))


UTILITIES = {
    "contribution": lambda o, w, h, d: o * h,
    "zero_contribution": lambda o, w, h, d: o * d,
    "adaptable_contribution": lambda o, w, h, d: o * d / w,
    "adaptation": lambda o, w, h, d: 1 / w,
    "outgoing_weight": lambda o, w, h, d: o,
    "feature_by_input": lambda o, w, h, d: d / w,
}


@pytest.mark.parametrize("name", UTILITIES)
def test_utilities(name, getkey):
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    learner = learner_of(model)
    inputs = jax.random.normal(getkey(), (1, 8, 3))
    transform = ContinualBackprop(0.0, utility=getattr(algorithms, name), decay=0.0)
    state = transform.init(learner, key=getkey())
    _, state = transform.update(learner, state, signal_at(model, inputs), key=getkey())
    into, out = (np.asarray(d.weight) for d in model.layers)
    h = np.maximum(np.asarray(inputs[0]) @ into.T, 0)
    expected = UTILITIES[name](
        np.abs(out).mean(0), np.abs(into).mean(1), np.abs(h).mean(0), np.abs(h - h.mean(0)).mean(0)
    )
    np.testing.assert_allclose(state[0].utility, expected, rtol=1e-5)


def test_random_utilities_differ_by_layer_and_step(getkey):
    model = models.MLP(3, 2, width=4, depth=2, key=getkey())
    learner = learner_of(model)
    transform = ContinualBackprop(0.0, utility=algorithms.random_utility, decay=0.0)
    state, signal = transform.init(learner, key=getkey()), signal_at(model, jnp.ones((1, 1, 3)))
    draws = [
        float(u)
        for _ in range(2)
        for r in transform.update(learner, state, signal, key=getkey())[1]
        for u in r.utility
    ]
    assert len(set(draws)) == 16


def test_a_dead_unit_without_weights_has_a_finite_utility(getkey):
    """0 * inf would be NaN, and select the wrong unit."""
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    model = jax.tree.map(lambda x: 0 * x if eqx.is_array(x) else x, model)
    learner, signal = learner_of(model), signal_at(model, jnp.ones((1, 2, 3)))
    for name in UTILITIES:
        transform = ContinualBackprop(1.0, utility=getattr(algorithms, name))
        state = transform.init(learner, key=getkey())
        _, state = transform.update(learner, state, signal, key=getkey())
        assert np.isfinite(state[0].utility).all()


def test_batch_norm_statistics_begin_again(getkey):
    model, model_state = eqx.nn.make_with_state(BatchNormNetwork)(key=getkey())
    norm: Any = model.norm
    kept = jnp.full(5, 2.0, jnp.float32), jnp.full(5, 3.0, jnp.float32)
    model_state = model_state.set(norm.statistics, kept)
    group = model.units()[0]
    group = eqx.tree_at(
        lambda g: (g.scale, g.shift),
        group,
        ((Entries(lambda m: m.norm.weight, 0),), (Entries(lambda m: m.norm.bias, 0),)),
    )
    group = UnitGroup(
        **{f: getattr(group, f) for f in ("name", "size", "incoming", "bias", "outgoing", "draw")},
        scale=group.scale,
        shift=group.shift,
        statistics=(lambda m: m.norm,),
    )
    learner = learner_of(model, model_state=model_state)
    units = jnp.arange(5) == 3
    after: Any = renewed(learner, [(group, units)], key=getkey())
    mean, variance = after.model_state.get(norm.statistics)
    assert np.flatnonzero(mean != 2.0).tolist() == [3]
    assert mean[3] == 0
    assert variance.tolist() == [3, 3, 3, 1, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContinualBackprop(1.5), "`rate` is 1.5, but must lie between 0 and 1"),
        (lambda: ContinualBackprop(-0.1), "`rate` is -0.1"),
        (lambda: ContinualBackprop(float("nan")), "`rate` is nan"),
        (lambda: ContinualBackprop(0.1, decay=1.1), "`decay` is 1.1"),
        (lambda: ContinualBackprop(0.1, decay=1.0), "`decay` is 1.0, but .* below 1"),
        (lambda: ContinualBackprop(0.1, maturity=0), "`maturity` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_it_needs_of_a_model(getkey):
    transform = ContinualBackprop(0.1)
    with pytest.raises(TypeError, match="Linear without a method `units\\(\\)`"):
        transform.init(learner_of(eqx.nn.Linear(2, 2, key=getkey())), key=getkey())
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    mute = Described(model, (dataclasses.replace(model.units()[0], outgoing=()),))
    with pytest.raises(ValueError, match="No hidden units of this Described can be renewed"):
        transform.init(learner_of(mute), key=getkey())
    with pytest.raises(ValueError, match="No hidden units of this MLP"):
        transform.init(learner_of(models.MLP(3, 2, depth=0, key=getkey())), key=getkey())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeat": 3}, "the layer 'hidden_0' cannot be found .* axis 1 must have 12 entries"),
        ({"axis": 2}, "an array of shape \\(2, 4\\), but axis 2 must have 4 entries"),
        ({"where": lambda m: m.head.weight}, "`where` gives AttributeError"),
        ({"where": lambda m: None}, "The `outgoing` entries .* `where` gives None"),
    ],
)
def test_outgoing_weights_that_cannot_be_found(change, message, getkey):
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    (group,) = model.units()
    wrong = dataclasses.replace(group.outgoing[0], **change)
    model = Described(model, (dataclasses.replace(group, outgoing=(wrong,)),))
    with pytest.raises(ValueError, match=message):
        ContinualBackprop(0.1).init(learner_of(model), key=getkey())


def test_taps_that_are_not_those_of_the_units(getkey):
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    transform, learner = ContinualBackprop(0.1), learner_of(model)
    state = transform.init(learner, key=getkey())
    for taps in ({}, {"hidden_0": jnp.ones((2, 5))}):
        signal = signal_at(model, jnp.ones((1, 2, 3)), taps=taps)
        with pytest.raises(ValueError, match="describes a layer 'hidden_0' of 4 activations, but"):
            transform.update(learner, state, signal, key=getkey())
