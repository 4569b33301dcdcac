"""Schedules of learning rates against optax, and along the clock of the loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import permuted
from watching import StopAfter, StoppedError, Traces

from spectral import _programs, algorithms, Ensemble, Optimiser, train_continual
from spectral._ensemble import spread
from spectral.algorithms import Constant, ExponentialDecay, InverseSquareRoot, WarmupCosine
from spectral.recording import OrbaxCheckpointer


def vaswani(step):
    """d^-0.5 min(step^-0.5, step warmup^-1.5), with d such that the largest value is 0.1."""
    d = 1 / (0.1 * 4**0.5) ** 2
    return d**-0.5 * np.minimum(np.maximum(step, 1e-9) ** -0.5, step * 4**-1.5)


# A schedule, and its reference.
SCHEDULES = {
    "constant": (Constant(0.1), optax.constant_schedule(0.1)),
    "warm_up": (Constant(0.1, warmup_steps=4), optax.linear_schedule(0, 0.1, 4)),
    "cosine": (
        WarmupCosine(0.1, warmup_steps=4, decay_steps=12, end=0.01),
        optax.warmup_cosine_decay_schedule(0, 0.1, 4, 12, 0.01),
    ),
    "cosine_only": (WarmupCosine(0.1, decay_steps=12), optax.cosine_decay_schedule(0.1, 12)),
    "exponential": (
        ExponentialDecay(0.1, factor=0.5, decay_steps=4),
        optax.exponential_decay(0.1, 4, 0.5),
    ),
    "staircase": (
        ExponentialDecay(0.1, factor=0.5, decay_steps=4, staircase=True),
        optax.exponential_decay(0.1, 4, 0.5, staircase=True),
    ),
    "inverse_square_root": (InverseSquareRoot(0.1, warmup_steps=4), vaswani),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_values(name):
    schedule, reference = SCHEDULES[name]
    steps = np.arange(20)
    found = jax.jit(lambda steps: jax.vmap(schedule)(steps))(jnp.asarray(steps))
    expected = [float(reference(step)) for step in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0.0), "`peak` is 0.0"),
        (lambda: Constant(0.1, warmup_steps=-1), "`warmup_steps` is -1"),
        (lambda: WarmupCosine(0.1, warmup_steps=5, decay_steps=5), "`decay_steps - warmup_steps`"),
        (lambda: WarmupCosine(0.1, decay_steps=5, end=-1.0), "`end` is -1.0"),
        (lambda: ExponentialDecay(0.1, factor=2.0, decay_steps=5), "`factor` is 2.0"),
        (lambda: InverseSquareRoot(0.1, warmup_steps=0), "`warmup_steps` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_step_decay_needs_a_number():
    decay = algorithms.StepDecay(0.5, (1,))
    algo = algorithms.followed_by(algorithms.bp(Constant(0.1)), (decay,))
    setting = permuted()
    with pytest.raises(ValueError, match="`StepDecay` needs .* constant .*follows a schedule"):
        train_continual(setting.model, setting.stream, algo)


SLOTS = 3 * 16


def recorded(learning_rate, weight):
    """Gradient descent that keeps the learning rate of every step."""

    def update(updates, state, params=None):
        count, values = state
        moved = jax.tree.map(lambda g: -learning_rate * weight * g, updates)
        return moved, (count + 1, values.at[count].set(learning_rate))

    init = lambda params: (jnp.zeros((), int), jnp.zeros(SLOTS))
    return optax.GradientTransformation(init, update)


TRACES = Traces(_programs.run_tasks)


@pytest.fixture(scope="module", autouse=True)
def count_traces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_programs, "segment", eqx.filter_jit(spread(TRACES)))
        yield


def algorithm(restart, peak=0.1):
    lr = WarmupCosine(peak, warmup_steps=4, decay_steps=30, restart=restart)
    return algorithms.bp(Optimiser(recorded, learning_rate=lr, weight=0.5))


def train(algo, **options):
    setting = permuted()
    return train_continual(setting.model, setting.stream, algo, **options)


def same(a, b):
    leaves = lambda learner: jax.tree.leaves(eqx.filter(learner, eqx.is_array))
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("restart", ["never", "task"])
def test_the_loop_follows_the_clock(restart):
    """Another peak traces nothing."""
    before = TRACES.count
    algo = algorithm(restart)
    learner, _ = train(algo)
    assert TRACES.count == before + 1
    values = learner.optimiser.state[1]
    steps = np.arange(SLOTS) % (16 if restart == "task" else SLOTS)
    expected = optax.warmup_cosine_decay_schedule(0, 0.1, 4, 30)(steps)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-7)
    assert float(learner.optimiser.hyper["learning_rate"]) == float(values[-1])

    higher, _ = train(algorithm(restart, peak=0.2))
    assert TRACES.count == before + 1
    np.testing.assert_allclose(higher.optimiser.state[1], 2 * values, rtol=1e-4, atol=1e-7)


def test_the_place_of_a_stop_changes_no_bit(tmp_path):
    """The run is stopped in the middle of its tasks and divided into segments of two tasks."""
    learner, _ = train(algorithm("task"))
    options = {"segment_tasks": 2}
    with pytest.raises(StoppedError):
        train(algorithm("task"), checkpointer=StopAfter(tmp_path, 2), **options)
    resumed, _ = train(algorithm("task"), checkpointer=OrbaxCheckpointer(tmp_path), **options)
    same(learner, resumed)


@pytest.mark.slow
def test_members_of_an_ensemble_have_their_own_schedule():
    peaks = (0.1, 0.2)
    together, _ = train(Ensemble.of([algorithm("task", peak) for peak in peaks]))
    for i, peak in enumerate(peaks):
        same(together[i], train(algorithm("task", peak))[0])


def test_a_schedule_of_optax_is_a_number():
    schedule = optax.cosine_decay_schedule(0.1, 10)
    optimiser = Optimiser(optax.sgd, learning_rate=schedule)
    params = {"w": jnp.ones(2)}

    @eqx.filter_jit
    def twice(optimiser):
        optimiser, now = optimiser.init(params), params
        for _ in range(2):
            now, optimiser = optimiser.apply({"w": jnp.ones(2)}, now)
        return now

    np.testing.assert_allclose(twice(optimiser)["w"], 1 - schedule(0) - schedule(1), rtol=1e-6)
