"""TRAC, the function that JAX lacks for it, and Adam on local time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from signals import learner_of, mlp, signal_at, start_of

from spectral import algorithms, Optimiser
from spectral.algorithms import LocalTime, trac_around
from spectral.algorithms.optimisers._erfi import erfi


KEY = jax.random.key(0)


def test_erfi(float64):
    x = np.array([-9.0, -2.5, -1e-5, 0.0, 1e-8, 0.5**0.5, 1.0, 4.0, 9.0])
    find = jax.jit(erfi)
    np.testing.assert_allclose(find(jnp.asarray(x)), scipy.special.erfi(x), rtol=1e-13)
    np.testing.assert_allclose(find(jnp.asarray(x))[5], 0.9534382693, rtol=1e-10)
    single = find(jnp.asarray([*x, -1e30], jnp.float32))
    np.testing.assert_allclose(single[:-1], scipy.special.erfi(x), rtol=2e-5)
    assert single[-1] == single[0]


def test_trac_on_a_parabola(float64):
    """Values that were computed by hand: the first steps, and after 50 and 100."""
    optimiser = Optimiser(trac_around, base=optax.sgd, learning_rate=0.1)
    assert set(optimiser.hyper) == {"learning_rate"}
    start = jnp.asarray(1.0)

    @jax.jit
    def run():
        def step(carried, _):
            theta, own = carried
            theta, own = own.apply(theta, theta)
            return (theta, own), (theta, own.state.scale, own.state.correlation[0])

        arrays = eqx.filter((start, optimiser.init(start)), eqx.is_array)
        static = eqx.filter((start, optimiser.init(start)), eqx.is_array, inverse=True)
        on = lambda a, x: (lambda out: (eqx.filter(out[0], eqx.is_array), out[1]))(
            step(eqx.combine(a, static), x)
        )
        return jax.lax.scan(on, arrays, None, length=100)[1]

    theta, scale, correlation = map(np.asarray, run())
    h = 0.9 * np.array([1e-8, *correlation[:-1]]) - correlation
    np.testing.assert_allclose(h[1:3], [-0.0909569585, -0.1636773913], rtol=1e-8)
    expected = [1.0058226987e-7, 6.00000023e-8, 9.6298335e-8, 0.2324657, 0.2336185]
    np.testing.assert_allclose(scale[[0, 1, 2, 49, 99]], expected, rtol=4e-7)
    np.testing.assert_allclose(theta[1:3] - 1, [-1.1457418e-8, -2.5391694e-8], rtol=1e-7)
    np.testing.assert_allclose(theta[49], 0.0050047, atol=5e-8)


def test_trac_returns_to_its_start_and_keeps_foreign_changes(float64):
    """The first correlation is positive: the scale is 0. What others add to the parameters is not
    taken for a distance, and forgotten entries start again."""
    start = {"a": jnp.asarray([1.0, -2.0])}
    optimiser = Optimiser(trac_around, base=optax.adam, decays=(0.9, 0.99), learning_rate=0.1)

    @eqx.filter_jit
    def run():
        own = optimiser.init(start)
        first, own = own.apply({"a": jnp.asarray([1.0, 1.0])}, start)
        marks = {"a": jnp.asarray([True, False])}
        forgotten = own.forget(marks, first)
        against = {"a": jnp.asarray([-1.0, -1.0])}
        second, after = own.apply(against, first)
        moved, _ = own.apply(against, {"a": first["a"] + 3})
        return first, second, moved, forgotten.state, after.state

    first, second, moved, forgotten, after = run()
    assert np.abs(first["a"] - start["a"]).min() > 1e-9
    assert after.scale == 0
    np.testing.assert_allclose(second["a"], start["a"], atol=1e-15)
    np.testing.assert_allclose(moved["a"], start["a"] + 3, atol=1e-15)
    assert np.asarray(forgotten.distance["a"]).tolist() == [0, pytest.approx(-0.1)]


def test_trac_leaves_its_start_again_only_if_the_distance_is_kept():
    """The second gradient points along D, the third against it."""
    make = lambda keep: Optimiser(
        trac_around, base=optax.sgd, keep_distance=keep, learning_rate=0.1
    )

    @eqx.filter_jit
    def scales():
        found, theta = [], jnp.zeros(2)
        for own in (make(True).init(theta), make(False).init(theta)):
            for gradient in (1.0, -0.5, 1.0):
                theta, own = own.apply(jnp.full(2, gradient), theta)
                found.append(own.state.scale)
        return found

    kept, lost = np.reshape(scales(), (2, 3))
    assert kept[0] == lost[0] > 0
    assert kept[1] == lost[1] == lost[2] == 0
    assert kept[2] > 0


def test_numbers_and_bases_of_trac():
    with pytest.raises(ValueError, match="`decays` is 1.0"):
        trac_around(optax.sgd, decays=(1.0,), learning_rate=0.1)
    with pytest.raises(ValueError, match="`decays` is empty"):
        trac_around(optax.sgd, decays=(), learning_rate=0.1)
    schedule = algorithms.Constant(0.1, warmup_steps=2)
    assert "learning_rate" in algorithms.trac(schedule).optimiser.schedules
    given = algorithms.trac(algorithms.sgd(0.25, momentum=0.5)).optimiser
    assert {k: float(v) for k, v in given.hyper.items()} == {"learning_rate": 0.25, "momentum": 0.5}
    assert dict(algorithms.trac(0.1, keep_distance=True).optimiser.options)["keep_distance"]
    default = dict(algorithms.trac(0.125).optimiser.options)
    assert default["base"] is algorithms.entrywise_adam
    finished = optax.adam(1e-3)
    assert dict(algorithms.trac(finished).optimiser.options)["base"] is finished


ADAMS = {
    "entrywise": lambda: algorithms.adam(0.1),
    "optax": lambda: Optimiser(optax.adam, learning_rate=0.1),
    "chain": lambda: Optimiser(optax.chain(optax.clip(100.0), optax.adam(0.1))),
    "trac": lambda: Optimiser(trac_around, base=optax.adam, learning_rate=0.1),
}


@pytest.mark.parametrize("name", ["entrywise", "optax", "chain"])
def test_adam_on_local_time(name, float64):
    """After three steps of gradient 2 the count is 0 again and the moments are kept: at a task but
    the first, or after the last step of a chunk."""
    model = mlp(1, 1, depth=0)
    inputs = jnp.ones((4, 1, 1))
    at_task, at_chunk = LocalTime(), LocalTime(at="chunk")

    @eqx.filter_jit
    def steps(learner, first, later):
        grads = lambda value: jax.tree.map(lambda p: jnp.full(p.shape, value), first)
        for _ in range(3):
            _, optimiser = learner.optimiser.apply(grads(2.0), first)
            learner = eqx.tree_at(lambda le: le.optimiser, learner, optimiser)
        signals = [signal_at(model, inputs, step, taps={}) for step in (2, 3)]
        after = [
            at_task.begin_task(learner, None, start_of(0), key=KEY)[0],
            at_chunk.update(learner, None, signals[0], key=KEY)[0],
            at_task.update(learner, None, signals[1], key=KEY)[0],
            at_task.begin_task(learner, None, start_of(1), key=KEY)[0],
            at_chunk.update(learner, None, signals[1], key=KEY)[0],
        ]
        return [le.optimiser.apply(grads(later), first)[0].layers[0].bias for le in after]

    params = eqx.filter(model, eqx.is_inexact_array)
    learner = learner_of(model, ADAMS[name]())
    found = steps(learner, params, jnp.asarray(5.0))
    m, v = 2 * (1 - 0.9**3), 4 * (1 - 0.999**3)
    m, v = 0.9 * m + 0.1 * 5, 0.999 * v + 0.001 * 25
    step = lambda t: 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    moved = [float((params.layers[0].bias - now)[0]) for now in found]
    np.testing.assert_allclose(moved, [step(4)] * 3 + [step(1)] * 2, rtol=1e-6)


def test_local_time_needs_adam():
    model = mlp(1, 1, depth=0)
    with pytest.raises(ValueError, match="step count of Adam, but the optimiser `sgd` has none"):
        LocalTime().init(learner_of(model), key=KEY)
    LocalTime().init(learner_of(model, ADAMS["trac"]()), key=KEY)
