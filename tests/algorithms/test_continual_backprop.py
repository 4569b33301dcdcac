"""Continual backpropagation against NumPy, over the layouts of units."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import resnet
from signals import after_step, arrays, drawn, learner_of, mlp, numpy_map, signal_at, trained

from spectral import algorithms, Learner, models
from spectral.algorithms import ContinualBackprop
from spectral.algorithms.transforms.units._continual_backprop import UnitRecord
from spectral.models import AbstractNetwork, apply_network, Entries, UnitGroup


KEY = jax.random.key(0)


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


def record_of(age, *, utility=None, mean=None, pending=0, remainder=0.0):
    """The record of units of these ages; utilities and means are zero by default."""
    zeros = np.zeros(len(age))
    return UnitRecord(
        age=jnp.asarray(np.array(age)),
        mean=jnp.asarray(zeros[:, None] if mean is None else mean),
        utility=jnp.asarray(zeros if utility is None else np.array(utility)),
        pending=jnp.asarray(np.array(pending)),
        remainder=jnp.asarray(np.array(remainder)),
        replaced=jnp.zeros((), int),
    )


def mature(model):
    """Records of all replaceable units, at an age of 1000 steps."""
    groups = [group for group in model.units() if group.replaceable]
    return tuple(record_of([1000] * g.size, mean=np.zeros((g.size, g.copies))) for g in groups)


outputs_and_taps = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))


class NumPyCBP:
    """The formulas of Dohare et al. for an MLP, one step at a time."""

    def __init__(self, sizes, rate, maturity, compensate):
        self.rate, self.maturity, self.compensate = rate, maturity, compensate
        self.age = [np.zeros(n, int) for n in sizes]
        self.f = [np.zeros(n) for n in sizes]
        self.u = [np.zeros(n) for n in sizes]
        self.owed = [0.0 for _ in sizes]

    def step(self, weights, biases, hidden, fresh):
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
                weights[layer][i] = fresh[layer][i]
                biases[layer][i] = 0
                weights[layer + 1][:, i] = 0
                self.age[layer][i] = self.f[layer][i] = self.u[layer][i] = 0
        return [tuple(units) for units, _ in replaced]


@pytest.mark.parametrize(
    "compensate", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["published", "bare"]
)
def test_many_steps_match_numpy(compensate, float64):
    steps, rate = 800, 1e-2
    model = mlp(3, 2, width=6, depth=2)
    inputs = np.random.default_rng(0).normal(size=(steps, 2, 3))
    targets = np.stack([np.sin(3 * inputs[..., 0]), inputs[..., 1] * inputs[..., 2]], -1)
    transform = ContinualBackprop(rate, maturity=20, compensate=compensate)
    learner = learner_of(model)
    params, static = eqx.partition(learner, eqx.is_array)
    shape = signal_at(model, jnp.asarray(inputs))

    @jax.jit
    def run(params, inputs, targets):
        keys = jax.random.split(KEY, steps)

        def one(carry, xs):
            params, state = carry
            learner = eqx.combine(params, static)
            x, y, key = xs

            def loss(model):
                outputs, taps = jax.vmap(model)(x)
                return jnp.mean((outputs - y) ** 2), taps

            grads, taps = eqx.filter_grad(loss, has_aux=True)(learner.model)
            model, optimiser = learner.optimiser.apply(grads, learner.model)
            learner = Learner(model, None, optimiser)
            signal = eqx.tree_at(lambda s: (s.taps, s.grads), shape, (taps, grads))
            learner, state = transform.update(learner, state, signal, key=key)
            return (eqx.filter(learner, eqx.is_array), state), (
                [r.age for r in state],
                arrays(learner.model),
            )

        state = transform.init(learner, key=KEY)
        last, (ages, weights) = jax.lax.scan(one, (params, state), (inputs, targets, keys))
        return ages, weights, transform.measure(last[1])

    *found, measured = run(params, jnp.asarray(inputs), jnp.asarray(targets))
    ages, after = (list(map(np.asarray, x)) for x in found)

    weights = [np.array(d.weight) for d in model.layers]
    biases = [np.array(d.bias) for d in model.layers]
    oracle, rows = NumPyCBP([6, 6], rate, 20, compensate), (set(), set())
    counts = [0, 0]
    for t in range(steps):
        x, y = inputs[t], targets[t]
        h1 = np.maximum(x @ weights[0].T + biases[0], 0)
        h2 = np.maximum(h1 @ weights[1].T + biases[1], 0)
        d3 = 2 * (h2 @ weights[2].T + biases[2] - y) / y.size
        d2 = (d3 @ weights[2]) * (h2 > 0)
        d1 = (d2 @ weights[1]) * (h1 > 0)
        for k, (d, h) in enumerate(((d1, x), (d2, h1), (d3, h2))):
            weights[k] -= 0.1 * d.T @ h
            biases[k] -= 0.1 * d.sum(0)
        # The drawn weights are ours; they lie within the bound of the initial distribution.
        replaced = oracle.step(weights, biases, [h1, h2], [w[t] for w in after[::2]])
        for layer, units in enumerate(replaced):
            for row in after[2 * layer][t][list(units)]:
                assert np.abs(row).max() <= (6 / row.size) ** 0.5
                rows[layer].add(tuple(row))
            counts[layer] += len(units)
            np.testing.assert_array_equal(oracle.age[layer], ages[layer][t])
        for ours, theirs in zip(after[::2], weights, strict=True):
            np.testing.assert_allclose(ours[t], theirs, rtol=1e-7, atol=1e-9)
        for ours, theirs in zip(after[1::2], biases, strict=True):
            np.testing.assert_allclose(ours[t], theirs, rtol=1e-7, atol=1e-9)
    assert min(counts) > 30
    assert [len(drawn) for drawn in rows] == counts
    assert measured["units_replaced"] == sum(counts)
    assert measured["mean_age"] == pytest.approx(np.concatenate(oracle.age).mean())


def test_the_lowest_corrected_utility_among_the_mature():
    """.1 .9 .3 .7 .5, where .1 is too young."""
    lowest = eqx.filter_jit(
        lambda transform, record, due: jax.vmap(lambda n: transform._lowest(record, n))(due)
    )
    transform, utility = ContinualBackprop(1.0, maturity=100), [0.1, 0.9, 0.3, 0.7, 0.5]
    due = jnp.asarray(np.array([0, 1, 2, 4]))
    record = record_of([100, 500, 500, 500, 500], utility=utility)
    chosen = [np.flatnonzero(row).tolist() for row in lowest(transform, record, due)]
    assert chosen == [[], [2], [2, 4], [1, 2, 3, 4]]
    # Bias correction: unit 0, just mature, has seen a tenth of the weight of its running mean.
    slow = ContinualBackprop(1.0, maturity=100, decay=0.999)
    record = record_of([101, 100_000, 100_000, 100_000, 100_000], utility=utility)
    assert np.flatnonzero(lowest(slow, record, due)[1]).tolist() == [2]
    assert np.argmin(utility) == 0


@pytest.mark.parametrize(("rate", "units", "steps"), [(1e-3, 7, 3000), (3e-11, 1000, 60_000)])
def test_replacements_owed_are_rate_times_eligible(rate, units, steps):
    """Also if the increment of one step is below the rounding of the number owed."""
    transform = ContinualBackprop(rate, maturity=100)
    record = record_of([200] * units, remainder=0.9)

    def step(record, _):
        return transform._accrued(record)

    last, due = jax.jit(lambda r: jax.lax.scan(step, r, length=steps))(record)
    owed = float(last.remainder) + float(transform.replacement_rate) * int(last.pending) - 0.9
    np.testing.assert_allclose(int(due.sum()) + owed, rate * units * steps, rtol=1e-3)
    assert int(due.sum()) == int(0.9 + rate * units * steps)


def test_young_units_are_not_eligible():
    transform = ContinualBackprop(1.0, maturity=10)
    due_of = jax.jit(lambda record: transform._accrued(record)[1])
    for ages, expected in (([10, 10, 10, 10], 0), ([11, 10, 11, 2], 2), ([11] * 4, 4)):
        assert int(due_of(record_of(ages))) == expected


def crelu(key):
    return models.MLP(3, 2, width=4, depth=2, activation=models.CReLU(), key=key)


def pictures(key, **options):
    """Convolution to convolution, convolution to dense through pooling and flattening, dense."""
    sizes = {"channels": (4, 4), "kernels": (2, 2), "dense_sizes": (4,), "padding": "valid"}
    return models.ConvNet((1, 11, 11), 2, **sizes, **options, key=key)


LAYOUTS = {
    "dense": (lambda key: models.MLP(3, 2, width=4, depth=1, key=key), (3,)),
    "two_heads": (lambda key: TwoHeads(key=key), (3,)),
    "crelu": (crelu, (3,)),
    "convolutions": (pictures, (1, 11, 11)),
    "crelu_convolutions": (lambda key: pictures(key, activation=models.CReLU()), (1, 11, 11)),
}


@pytest.mark.parametrize(
    ("layout", "compensate"),
    [
        ("two_heads", True),
        pytest.param("dense", False, marks=pytest.mark.slow),
        pytest.param("two_heads", False, marks=pytest.mark.slow),
        pytest.param("dense", True, marks=pytest.mark.slow),
    ],
)
def test_changes_of_a_replacement(layout, compensate, float64):
    """The function loses what the unit contributed, and gains its mean with compensation."""
    make, shape = LAYOUTS[layout]
    model, rng = drawn(make), np.random.default_rng(1)
    inputs = jnp.asarray(rng.normal(size=(1, 16, *shape)))
    learner = trained(learner_of(model, algorithms.adam(0.1)))
    transform = ContinualBackprop(0.3, compensate=compensate)  # 1.2 of 4 units
    (group,), mean = model.units(), rng.random((4, 1))
    record = record_of([1000] * 4, utility=[3.0, 1e-3, 2.0, 3.0], mean=mean)
    after, (record,) = after_step(transform, learner, inputs, state=(record,), key=KEY)
    marks, fresh = eqx.filter_jit(
        lambda model, units: (
            models.entries_of(model, group, units),
            learner.optimiser.init(model),
        )
    )(model, jnp.asarray(np.arange(4) == 1))

    outputs, taps = outputs_and_taps(model, inputs[0])
    h = np.asarray(taps[group.name])
    f = (0.99 * mean[1, 0] + 0.01 * h[:, 1].mean()) / (1 - 0.99**1001)
    out = np.concatenate([np.asarray(e.where(model)) for e in group.outgoing])[:, 1]
    lost = np.outer(h[:, 1] - (f if compensate else 0), out)
    new, _ = outputs_and_taps(after.model, inputs[0])
    np.testing.assert_allclose(new, np.asarray(outputs) - lost, atol=1e-10)

    for entries in group.outgoing:
        assert not np.any(np.asarray(entries.where(after.model))[:, 1])
    assert np.asarray(group.bias[0].where(after.model))[1] == 0
    assert record.age.tolist() == [1001, 0, 1001, 1001]
    assert np.asarray(record.utility)[1] == np.asarray(record.mean)[1, 0] == 0
    np.testing.assert_allclose(float(record.remainder), 0.2)
    states = (jax.tree.leaves(o.state) for o in (after.optimiser, learner.optimiser, fresh))
    kept, expected = zip(*states, strict=True), jax.tree.leaves(marks) * 4
    for (a, b, c), m in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(a, np.where(m, c, b))


@pytest.mark.parametrize(
    "layout",
    [
        name if name == "crelu_convolutions" else pytest.param(name, marks=pytest.mark.slow)
        for name in LAYOUTS
    ],
)
def test_the_replacement_of_a_constant_unit_keeps_the_function(layout, float64):
    """One unit in each layer is constant. It has no utility, so it is replaced; the biases of the
    next layer take over its contribution."""
    make, shape = LAYOUTS[layout]
    model, rng = drawn(make), np.random.default_rng(2)
    for i, group in enumerate(model.units()):
        weight, bias = group.incoming[0].where, group.bias[0].where
        constant = np.array(weight(model))
        constant[1] = 0
        # The other units are active on some inputs. A dead unit would have no utility either.
        active = np.where(np.arange(4) == 1, 0.7, 10.0 * 4**i)
        places = lambda m, weight=weight, bias=bias: (weight(m), bias(m))
        model = eqx.tree_at(places, model, (jnp.asarray(constant), jnp.asarray(active)))
    inputs = jnp.asarray(rng.normal(size=(1, 8, *shape)))
    transform, keys = ContinualBackprop(0.25, maturity=3), list(jax.random.split(KEY, 5))

    @eqx.filter_jit
    def update(learner, state, key):
        signal = signal_at(model, inputs)
        return transform.update(learner, state, signal, key=key)

    learner, state = learner_of(model), eqx.filter_jit(transform.init)(learner_of(model), key=KEY)
    for key in keys[1:]:
        for group in learner.model.units():
            assert np.asarray(group.bias[0].where(learner.model))[1] == 0.7
        learner, state = update(learner, state, key)
    for group, record in zip(learner.model.units(), state, strict=True):
        assert record.age.tolist() == [4, 0, 4, 4]
        assert np.any(np.asarray(group.incoming[0].where(learner.model))[1])
    before, after = (outputs_and_taps(m, inputs[0])[0] for m in (model, learner.model))
    np.testing.assert_allclose(after, before, rtol=1e-11, atol=1e-11)


def two_trunks():
    options = {"width": 5, "depth": 2, "activation": "tanh"}
    model = drawn(lambda key: models.ActorCritic(3, 2, **options, key=key))
    layers = {
        f"{trunk}_hidden_{i}": lambda m, t=trunk, i=i: (*getattr(m, t).layers[i : i + 2], None)
        for trunk in ("actor", "critic")
        for i in range(2)
    }
    return model, None, (3,), layers


ADAM, MOMENTUM = algorithms.adam(0.1), algorithms.sgd(0.1, momentum=0.9)


def residual(num_stages, **options):
    def block(model, stage):
        block = model.stages[stage][0]
        return block.first, block.second, block.first_norm

    layers: dict[str, Any] = {
        f"block_{i}_0_inner": lambda m, i=i: block(m, stage=i) for i in range(num_stages)
    }
    layers |= {"dense_0": lambda m: (m.dense[0], m.dense[1], None)}
    return *resnet(KEY, blocks=(1,) * num_stages, dense_sizes=(5,), **options), layers


@pytest.mark.parametrize(
    ("make", "optimiser"),
    [
        pytest.param(lambda: residual(1, width=4), MOMENTUM, id="residual"),
        pytest.param(lambda: residual(2), ADAM, id="two_stages", marks=pytest.mark.slow),
        pytest.param(two_trunks, ADAM, id="two_trunks", marks=pytest.mark.slow),
    ],
)
def test_a_whole_update_matches_numpy(make, optimiser):
    """The replaced units, and everything that changes with them; nothing else changes."""
    model, model_state, shape, layers = make()
    model = numpy_map(lambda x: x + 0.1, model)
    x = np.random.default_rng(3).normal(size=(6, *shape))
    start = trained(learner_of(model, optimiser, model_state))
    transform = ContinualBackprop(0.3)  # 1.2 of 4 units, 1.5 of 5; 0.6 of 2 is none yet

    @eqx.filter_jit
    def update(learner, x):
        _, aux = apply_network(learner.model, learner.model_state, x, inference=False)
        learner = Learner(learner.model, aux.model_state, learner.optimiser)
        signal = signal_at(learner.model, x[None], taps=aux.taps)
        return aux, transform.update(learner, mature(model), signal, key=KEY)

    after: Any
    aux, (after, records) = update(start, jnp.asarray(x))
    params = eqx.filter(model, eqx.is_inexact_array)
    old = jax.tree.map(np.asarray, params)

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
        age = np.asarray(record.age)
        assert np.flatnonzero(age == 0).tolist() == units.tolist()
        owed = float(record.remainder) + 0.3 * int(record.pending)
        np.testing.assert_allclose(owed, 0.3 * worth.size - due, rtol=1e-5)
        new_into, new_out, new_norm = of(expected)
        marks_into, marks_out, marks_norm = of(touched)
        reach = out.weight.reshape(*out.weight.shape[:2], -1).sum(-1)
        new_out.bias[...] += reach[:, units] @ f[units]
        fresh = np.asarray(of(after.model)[0].weight)[units]
        assert np.all(fresh != into.weight[units])
        new_into.weight[units], new_into.bias[units], new_out.weight[:, units] = fresh, 0, 0
        marks_into.weight[units] = marks_into.bias[units] = marks_out.weight[:, units] = True
        if norm is not None:
            new_norm.weight[units], new_norm.bias[units] = 1, 0
            marks_norm.weight[units] = marks_norm.bias[units] = True
            states: Any = (aux.model_state, after.model_state)
            where = of(model)[2].statistics
            first, mean = (np.asarray(s.get(where)[0]) for s in states)
            np.testing.assert_array_equal(mean, np.where(age == 0, 0, first))
            assert np.all(first != 0)
    for a, b in zip(arrays(after.model), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    marks = jax.tree.leaves(touched)
    assert 0 < sum(m.sum() for m in marks) < sum(m.size for m in marks)
    states = [start.optimiser, after.optimiser, learner_of(model, optimiser).optimiser]
    copies = zip(*(jax.tree.leaves(o.state) for o in states), strict=True)
    for i, (before, now, initial) in enumerate(copies):
        np.testing.assert_array_equal(now, np.where(marks[i % len(marks)], initial, before))


@functools.cache
def half_replaced():
    """A network whose first 20 of 40 units in each of two layers are mature, and learners and
    records after an update that replaces these by random utilities, for two keys."""
    model = mlp(40, 2, width=40, depth=2)
    record, inputs = record_of([1000] * 20 + [0] * 20), jnp.asarray(np.ones((1, 1, 40)))
    options = {"utility": algorithms.random_utility, "decay": 0.0, "compensate": False}
    transform, learner = ContinualBackprop(1.0, **options), learner_of(model)
    update = lambda key: after_step(transform, learner, inputs, state=(record, record), key=key)
    return model, [update(key) for key in jax.random.split(KEY)]


def test_new_weights_have_the_distribution_of_the_network():
    """Without compensation the biases of the next layer stay."""
    model, updates = half_replaced()
    for after, _ in updates:
        old, new = (np.asarray(m.layers[0].weight) for m in (model, after.model))
        bound = (6 / 40) ** 0.5
        assert np.abs(new[:20]).max() <= bound
        np.testing.assert_allclose(new[:20].var(), bound**2 / 3, rtol=0.1)
        assert not np.any(new[:20] == old[:20])
        np.testing.assert_array_equal(new[20:], old[20:])
        assert not np.any(np.asarray(after.model.layers[1].weight)[20:, :20])
        before, now = (np.asarray(m.layers[1].bias)[20:] for m in (model, after.model))
        np.testing.assert_array_equal(now, before)


def test_draws_differ_by_layer_and_step():
    _, updates = half_replaced()
    utilities = np.concatenate([np.asarray(r.utility)[20:] for _, rs in updates for r in rs])
    assert len(set(utilities.tolist())) == 80
    assert ((utilities >= 0) & (utilities < 1)).all()
    layers = [layer.weight for after, _ in updates for layer in after.model.layers[:2]]
    weights = np.concatenate([np.asarray(w)[:20].ravel() for w in layers])
    assert len(set(weights.tolist())) > 0.99 * weights.size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContinualBackprop(1.5), "`replacement_rate` is 1.5, but must lie between 0 and 1"),
        (lambda: ContinualBackprop(-0.1), "`replacement_rate` is -0.1"),
        (lambda: ContinualBackprop(float("nan")), "`replacement_rate` is nan"),
        (lambda: ContinualBackprop(0.1, decay=1.1), "`decay` is 1.1"),
        (lambda: ContinualBackprop(0.1, decay=1.0), "`decay` is 1.0, but .* below 1"),
        (lambda: ContinualBackprop(0.1, maturity=0), "`maturity` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
