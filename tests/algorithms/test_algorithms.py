"""L2 and effective rank, what transforms see, and the arguments of the paper's recipes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from signals import after_step, arrays, learner_of, mlp, signal_at, start_of, step_at
from tables import permuted

from spectral import algorithms, Optimiser, train_tasks
from spectral._core import begin_task, start_run
from spectral.algorithms import Algorithm, EffectiveRank, L2


KEY = jax.random.key(0)


def test_l2_adds_weight_decay_times_theta():
    model = mlp(3, 2, width=4, depth=2)
    step = step_at(model, jnp.ones((1, 1, 3)))
    value, grads = eqx.filter_jit(
        lambda penalty, m: eqx.filter_value_and_grad(lambda m: penalty.value(m, None, step))(m)
    )(L2(0.3), model)
    params = [np.asarray(p) for p in arrays(model)]
    for g, p in zip(arrays(grads), params, strict=True):
        np.testing.assert_allclose(g, 0.3 * p, rtol=1e-6)
    np.testing.assert_allclose(value, 0.15 * sum((p**2).sum() for p in params), rtol=1e-5)


def _decayed_sgd(lr, decay):
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(lr))


def test_the_l2_step_equals_decayed_sgd():
    setting = permuted({"width": 4, "depth": 1}, num_tasks=1, steps_per_task=8)

    @jax.jit
    def run(penalty, decay):
        decayed = Optimiser(_decayed_sgd, lr=jnp.asarray(0.05), decay=decay)
        algo = Algorithm(decayed, penalties=(L2(penalty),))
        run, table = train_tasks(setting.model, setting.stream, algo, key=KEY)
        return arrays(run.learner.model), table["loss"]

    (ours, loss), (theirs, other) = run(0.01, 0.0), run(0.0, 0.01)
    for a, b, old in zip(ours, theirs, arrays(setting.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert not np.allclose(a, old)
    # The recorded loss is the loss of the task, without the penalty.
    np.testing.assert_allclose(loss, other, rtol=1e-4)
    assert not np.allclose(ours[0], run(0.0, 0.0)[0][0], rtol=1e-4, atol=1e-6)


def test_the_effective_rank_step_matches_numpy(float64):
    """Finite differences of the mean effective rank of the window's features; a dead layer, whose
    singular values are zero, keeps the step finite."""
    model = mlp(3, 2, width=4, depth=2)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(8, 1, 3)))
    transform = EffectiveRank(0.01, window=4)
    after, _ = after_step(transform, learner_of(model), inputs, 7, key=KEY)

    def rank(weights):
        x, ranks = np.asarray(inputs[4:, 0]), []
        for w, b in weights[:2]:
            x = np.maximum(x @ w.T + b, 0)
            s = np.linalg.svd(x, compute_uv=False)
            p = s[s > 0] / s.sum()
            ranks.append(np.exp(-(p * np.log(p)).sum()))
        return np.mean(ranks)

    parts = lambda model: [[np.array(d.weight), np.array(d.bias)] for d in model.layers]
    weights = parts(model)
    moved = 0
    for layer, (old, new) in enumerate(zip(parts(model), parts(after.model), strict=True)):
        for part, (a, b) in enumerate(zip(old, new, strict=True)):
            slope = np.zeros(a.shape)
            for index in np.ndindex(a.shape):
                values = []
                for sign in (1, -1):
                    weights[layer][part][index] += sign * 1e-6
                    values.append(rank(weights))
                    weights[layer][part][index] -= sign * 1e-6
                slope[index] = (values[0] - values[1]) / 2e-6
            np.testing.assert_allclose(b - a, 0.01 * slope, atol=1e-8)
            moved += np.count_nonzero(np.abs(slope) > 1e-3)
    assert moved > 12

    dead = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.full(4, -100.0))
    after, _ = after_step(transform, learner_of(dead), inputs, 7, key=KEY)
    assert all(np.isfinite(leaf).all() for leaf in arrays(after.model))


def test_effective_rank_needs_a_dense_layer():
    learner, inputs = learner_of(mlp(3, 2, depth=0)), jnp.ones((4, 1, 3))
    with pytest.raises(ValueError, match="needs a dense hidden layer, but the model has none"):
        after_step(EffectiveRank(0.1, 4), learner, inputs, 3, key=KEY)


class Looks(algorithms.AbstractTransform):
    """Keeps examples of the task that begins, and their loss."""

    def init(self, learner, *, key):
        return jnp.zeros((5, 6)), jnp.zeros(())

    def begin_task(self, learner, state, start, *, key):
        batch = start.sample(5, key=KEY)
        return learner, (batch.inputs, start.loss_of(learner, batch, key=KEY))


def test_a_transform_sees_data_of_the_task_that_begins():
    setting = permuted({"width": 4, "depth": 1}, steps_per_task=8)
    stream, algo = setting.stream, Algorithm(algorithms.sgd(0.1), transforms=(Looks(),))

    @eqx.filter_jit
    def begun(model):
        run = start_run(model, None, stream, algo, KEY)
        run = begin_task(run, stream, algo, jnp.asarray(1), KEY)
        batch = stream.sample(run.stream, run.learner, 5, "train", key=KEY)
        outputs, _ = stream.forward(model, None, batch, key=KEY, inference=False)
        before = start_run(model, None, stream, algo, KEY).stream
        other = stream.sample(before, run.learner, 5, "train", key=KEY)
        loss = stream.criterion(outputs, batch)[0]
        return run.algorithm.transforms[0], batch.inputs, other.inputs, loss

    (seen, loss), inputs, before, expected = begun(setting.model)
    np.testing.assert_array_equal(seen, inputs)
    assert not np.array_equal(seen, before)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_a_window_ends_at_the_present_minibatch():
    model, inputs = mlp(1, 1, width=2, depth=1), jnp.asarray(np.arange(12.0)[:, None, None])
    signal = lambda step: signal_at(model, inputs, step)
    windows = jax.jit(lambda: (signal(7).window(4), signal(5).window(2)))()
    np.testing.assert_array_equal(windows[0][:, 0], [4.0, 5.0, 6.0, 7.0])
    np.testing.assert_array_equal(windows[1][:, 0], [4.0, 5.0])
    with pytest.raises(ValueError, match="A window of 5 minibatches does not fit a chunk of 12"):
        jax.eval_shape(lambda: signal(7).window(5))


@pytest.mark.parametrize(("period", "message"), [(16, "A window of 16"), (12, "A period of 12")])
def test_a_window_larger_than_the_chunk_is_rejected(period, message):
    algo = algorithms.er(0.1, er_period=period)
    learner, inputs = learner_of(mlp(3, 2, width=4, depth=1)), jnp.ones((8, 1, 3))
    with pytest.raises(ValueError, match=f"{message}.* fit a chunk of 8.*: choose"):
        after_step(algo.transforms[0], learner, inputs, key=KEY)


def test_a_transform_without_methods_changes_nothing():
    class Idle(algorithms.AbstractTransform[None]):
        def init(self, learner, *, key):
            return None

    learner = learner_of(mlp(3, 2, width=4, depth=1))
    now = signal_at(learner.model, jnp.ones((8, 1, 3)), taps={})
    assert Idle().begin_task(learner, None, start_of(1), key=KEY) == (learner, None)
    assert Idle().update(learner, None, now, key=KEY) == (learner, None)


@pytest.mark.parametrize("name", ["bp", "l2", "er", "l2_er"])
def test_recipes_have_the_papers_defaults(name):
    algo = getattr(algorithms, name)()
    assert algo.optimiser.make is optax.sgd
    assert float(algo.optimiser.hyper["learning_rate"]) == pytest.approx(1e-2)
    decays = [float(p.weight_decay) for p in algo.penalties]
    assert decays == ([pytest.approx(1e-3)] if "l2" in name else [])
    assert len(algo.transforms) == ("er" in name)
    for periodic in algo.transforms:
        assert (periodic.period, periodic.transform.window) == (100, 100)
        assert float(periodic.transform.lr) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: algorithms.bp(0), "`lr` is 0, but must be finite and above 0"),
        (lambda: algorithms.bp(float("nan")), "`lr` is nan"),
        (lambda: algorithms.l2(weight_decay=-1e-3), "`weight_decay` is -0.001"),
        (lambda: algorithms.er(er_lr=-1.0), "`er_lr` is -1.0"),
        (lambda: algorithms.l2_er(er_period=0), "`er_period` is 0"),
        (lambda: algorithms.l2_er(er_period=4, er_window=0), "`er_window` is 0"),
        (lambda: algorithms.er(er_period=4, er_window=8), "`er_window` is 8, but must be at most"),
        (lambda: EffectiveRank(0.1, 0), "`window` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
