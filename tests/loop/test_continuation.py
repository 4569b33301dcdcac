"""Training of a network that has been trained before."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import permuted

from spectral import (
    _loop,
    _programs,
    AbstractCheckpointer,
    algorithms,
    Ensemble,
    Optimiser,
    train_continual,
)
from spectral._core import train_tasks


STILL = 1e-30  # a learning rate that changes no weight
KEY = jax.random.key(3)


class Memory(algorithms.AbstractTransform[jax.Array]):
    """Counts its updates, and records the count."""

    def init(self, learner, *, key):
        return jnp.zeros((), int)

    def update(self, learner, state, signal, *, key):
        return learner, state + 1

    def measure(self, state):
        return {"count": state}


def adam(lr=0.05, *transforms) -> algorithms.Algorithm:
    return algorithms.Algorithm(Optimiser(optax.adam, learning_rate=lr), transforms=transforms)


@pytest.fixture(scope="module")
def setting():
    return permuted({"depth": 1, "width": 3}, num_tasks=2)


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree) if hasattr(x, "dtype")]


def assert_same(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_learner_keeps_weights_and_optimiser(setting):
    """With a tiny learning rate the weights stay, and the moments continue."""
    algo = adam(0.05, Memory())
    learner, first = train_continual(setting.model, setting.stream, algo, key=KEY)
    still, second = train_continual(learner, setting.stream, adam(STILL, Memory()), key=KEY)
    assert_same(still.model, learner.model)
    counts = [int(after.optimiser.state[0].count) for after in (learner, still)]
    assert counts[1] == 2 * counts[0] > 0
    assert float(still.optimiser.hyper["learning_rate"]) == np.float32(STILL)
    # The memory of the transform is initialised again: both runs have equally many steps.
    np.testing.assert_array_equal(first["Memory.count"], second["Memory.count"])

    # The members of an ensemble continue as a single learner does.
    both = Ensemble.of([learner, learner])
    ensemble, _ = train_continual(both, setting.stream, adam(STILL, Memory()), key=KEY)
    assert_same(ensemble[1].model, still.model)
    assert_same(ensemble[1].optimiser.state, still.optimiser.state)


@pytest.mark.slow
def test_a_run_keeps_the_memory_too(setting):
    run, first = train_tasks(setting.model, setting.stream, adam(0.05, Memory()), key=KEY)
    learner, second = train_continual(run, setting.stream, adam(STILL, Memory()), key=KEY)
    assert_same(learner.model, run.learner.model)
    last = first["Memory.count"][-1]
    np.testing.assert_array_equal(second["Memory.count"], first["Memory.count"] + last)


class EveryTask(AbstractCheckpointer):
    """Notes where it is called."""

    def __init__(self):
        self.saved = []

    @property
    def every(self):
        return 1

    def restore(self, config, run):
        return None

    def save(self, config, done, run, history):
        self.saved.append(done)


def test_segments_end_where_the_checkpointer_says(setting):
    keep, algo = EveryTask(), adam(0.05, Memory())
    options = {"key": KEY, "segment_tasks": 2, "checkpointer": keep}
    train_continual(setting.model, setting.stream, algo, **options)
    assert keep.saved == [1, 2]


def test_what_does_not_fit_is_rejected(setting, monkeypatch):
    """Before anything is compiled."""

    class NotRun:
        def __call__(self, *arguments):
            raise AssertionError("A program was run.")

    run = _programs.start(setting.model, None, setting.stream, adam(), KEY)
    learner = run.learner
    monkeypatch.setattr(_loop, "count_members", NotRun())  # the first call after the checks
    for model, algo, options, message in [
        (learner, algorithms.bp(0.1), {}, "does not fit the optimiser `sgd` .* of `algo`"),
        (run, adam(0.1, Memory()), {}, "a Run of an algorithm with other penalties or transforms"),
        (
            learner,
            adam(),
            {"model_state": eqx.nn.State(run)},
            "`model_state` is given, but `model` is a L",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            train_continual(model, setting.stream, algo, key=KEY, **options)
