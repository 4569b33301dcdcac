import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import permuted
from watching import CountSteps

from spectral import algorithms, Clock, Learner, models, Optimiser, Signal, train_continual
from spectral._types import Aux, Chunk
from spectral.algorithms import Algorithm, EffectiveRank, L2, Periodic


def signal(step: int, inputs: jax.Array, model) -> Signal:
    """The signal after `step` of a chunk of single examples."""
    rows = jnp.arange(len(inputs))[:, None]

    def forward(model, model_state, batch, *, key, inference):
        outputs, taps = jax.vmap(model)(batch)
        return outputs, Aux(taps, model_state)

    return Signal(
        clock=Clock(jnp.asarray(step), jnp.asarray(step), jnp.asarray(0), jnp.asarray(0)),
        batch=inputs[step][None],
        loss=jnp.asarray(0.0),
        taps={},
        grads=jax.tree.map(jnp.zeros_like, eqx.filter(model, eqx.is_inexact_array)),
        chunk=Chunk(rows),
        take=lambda item: inputs[item],
        forward=forward,
        criterion=lambda outputs, batch: (jnp.mean(outputs**2), {}),
    )


def test_l2_adds_weight_decay_times_theta(getkey):
    model = models.MLP(3, 2, width=4, depth=2, key=getkey())
    model = jax.tree.map(lambda x: x + 0.1 if eqx.is_inexact_array(x) else x, model)
    penalty = L2(0.3)
    grads = eqx.filter_grad(lambda m: penalty.value(m, None))(model)
    jax.tree.map(
        lambda g, p: np.testing.assert_allclose(g, 0.3 * p, rtol=1e-6),
        grads,
        eqx.filter(model, eqx.is_inexact_array),
    )
    total = sum(float((np.asarray(p) ** 2).sum()) for p in jax.tree.leaves(grads)) / 0.3**2
    np.testing.assert_allclose(penalty.value(model, None), 0.15 * total, rtol=1e-5)


def test_l2_step_is_that_of_decayed_sgd():
    setting = permuted()
    decayed = Optimiser(_decayed_sgd, lr=0.05, decay=0.01)
    ours, history = train_continual(
        setting.model, setting.stream, algorithms.l2(0.05, weight_decay=0.01)
    )
    theirs, other = train_continual(setting.model, setting.stream, Algorithm(decayed))
    for a, b in zip(ours.model.layers, theirs.model.layers, strict=True):
        np.testing.assert_allclose(a.weight, b.weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(a.bias, b.bias, rtol=1e-4, atol=1e-6)
    # The loss that is recorded is that of the task, without the penalty.
    np.testing.assert_allclose(history["loss"], other["loss"], rtol=1e-4)


def _decayed_sgd(lr, decay):
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(lr))


def test_effective_rank_step_against_numpy(getkey):
    """Finite differences of the mean effective rank of the window's features, in float64."""
    with jax.enable_x64(True):
        model = models.MLP(3, 2, width=4, depth=2, activation=jnp.tanh, key=getkey())
        inputs = jax.random.normal(getkey(), (8, 3))
        learner = Learner(model, None, Optimiser(optax.sgd, learning_rate=0.1).init(model))
        transform = EffectiveRank(0.01, window=4)
        after, _ = transform.update(learner, None, signal(7, inputs, model), key=getkey())

        def rank(weights):
            x, ranks = np.asarray(inputs[4:]), []
            for w, b in weights[:2]:
                x = np.tanh(x @ w.T + b)
                s = np.linalg.svd(x, compute_uv=False)
                p = s / s.sum()
                ranks.append(np.exp(-(p * np.log(p)).sum()))
            return np.mean(ranks)

        arrays = lambda model: [[np.array(d.weight), np.array(d.bias)] for d in model.layers]
        weights = arrays(model)
        for layer, (old, new) in enumerate(zip(arrays(model), arrays(after.model), strict=True)):
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


def test_effective_rank_step_is_finite_in_a_dead_network(getkey):
    model = models.MLP(3, 2, width=4, depth=2, key=getkey())
    model = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.full(4, -100.0))
    learner = Learner(model, None, Optimiser(optax.sgd, learning_rate=0.1).init(model))
    inputs = jax.random.normal(getkey(), (4, 3))
    after, _ = EffectiveRank(0.01, 4).update(learner, None, signal(3, inputs, model), key=getkey())
    for leaf in jax.tree.leaves(eqx.filter(after.model, eqx.is_inexact_array)):
        assert np.isfinite(leaf).all()


def test_the_window_is_the_block_that_ends_here(getkey):
    model = models.MLP(1, 1, width=2, depth=1, key=getkey())
    inputs = jnp.arange(12.0)[:, None]
    np.testing.assert_array_equal(
        signal(7, inputs, model).window(4)[:, 0], np.array([4.0, 5.0, 6.0, 7.0])
    )
    np.testing.assert_array_equal(signal(5, inputs, model).window(2)[:, 0], np.array([4.0, 5.0]))
    with pytest.raises(ValueError, match="A window of 5 minibatches does not fit a chunk of 12"):
        signal(7, inputs, model).window(5)


@pytest.mark.parametrize(("period", "fires"), [(1, 8), (2, 4), (4, 2), (8, 1), (16, 0)])
def test_every_fires_on_the_step_that_completes_a_period(period, fires, getkey):
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    learner = Learner(model, None, Optimiser(optax.sgd, learning_rate=0.1).init(model))
    transform = Periodic(CountSteps(), period)
    state = transform.init(learner, key=getkey())
    inputs = jax.random.normal(getkey(), (8, 3))
    for step in range(8):
        _, state = transform.update(learner, state, signal(step, inputs, model), key=getkey())
    last = (8 // period) * period - 1 if fires else 0
    assert state.tolist() == [fires, last]
    _, state = transform.begin_task(learner, state, signal(0, inputs, model).clock, key=getkey())
    assert state[0] == fires + 1000


@pytest.mark.parametrize("period", [3, 12])
def test_every_refuses_a_period_that_does_not_fit(period, getkey):
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    learner = Learner(model, None, Optimiser(optax.sgd, learning_rate=0.1).init(model))
    inputs = jax.random.normal(getkey(), (8, 3))
    with pytest.raises(ValueError, match=f"A period of {period} steps does not fit a chunk of 8"):
        Periodic(CountSteps(), period).update(
            learner, jnp.zeros(2, int), signal(7, inputs, model), key=getkey()
        )


@pytest.mark.parametrize(("every", "message"), [(16, "A window of 16"), (12, "A period of 12")])
def test_a_window_larger_than_the_chunk_is_refused(every, message):
    setting = permuted(num_tasks=1, steps_per_task=16, chunks_per_task=2)
    with pytest.raises(ValueError, match=f"{message}.* fit a chunk of 8.*: choose"):
        train_continual(setting.model, setting.stream, algorithms.er(0.1, er_period=every))


def test_a_transform_does_nothing_by_itself(getkey):
    class Idle(algorithms.AbstractTransform[None]):
        def init(self, learner, *, key):
            return None

    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    now = signal(0, jnp.ones((8, 3)), model)
    learner = Learner(model, None, Optimiser(optax.sgd, learning_rate=0.1).init(model))
    assert Idle().begin_task(learner, None, now.clock, key=getkey()) == (learner, None)
    assert Idle().update(learner, None, now, key=getkey()) == (learner, None)


@pytest.mark.parametrize("name", ["bp", "l2", "er", "l2_er"])
def test_recipes_have_the_papers_defaults(name):
    algo = getattr(algorithms, name)()
    assert algo.optimiser.make is optax.sgd
    assert float(algo.optimiser.hyper["learning_rate"]) == pytest.approx(1e-2)
    decays = [float(p.weight_decay) for p in algo.penalties]
    assert decays == ([pytest.approx(1e-3)] if "l2" in name else [])
    assert len(algo.transforms) == ("er" in name)
    for every in algo.transforms:
        assert (every.period, every.transform.window) == (100, 100)
        assert float(every.transform.lr) == pytest.approx(1e-3)


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
        (lambda: Periodic(CountSteps(), 0), "`period` is 0"),
        (lambda: EffectiveRank(0.1, 0), "`window` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_effective_rank_needs_a_dense_layer(getkey):
    model = models.MLP(3, 2, depth=0, key=getkey())
    learner = Learner(model, None, Optimiser(optax.sgd, learning_rate=0.1).init(model))
    inputs = jax.random.normal(getkey(), (4, 3))
    with pytest.raises(ValueError, match="needs a dense hidden layer"):
        EffectiveRank(0.1, 4).update(learner, None, signal(3, inputs, model), key=getkey())
