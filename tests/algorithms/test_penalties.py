"""Every penalty against NumPy, its gradient against finite differences, and its state."""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import after_step, arrays, learner_of, mlp, numpy_map, signal_at, step_at

from spectral import algorithms, Clock
from spectral._types import Aux
from spectral.algorithms import (
    ChurnReduction,
    CurvatureBarrier,
    L2Init,
    Parseval,
    SpectralNorm,
    WassersteinInit,
)
from spectral.algorithms.penalties._churn_reduction import churn
from spectral.algorithms.penalties._spectral_norm import SpectralNormState
from spectral.algorithms.transforms.weights._curvature_barrier import barrier_weights
from spectral.models import CategoricalPolicy, GaussianPolicy, PolicyAndValue


KEY = jax.random.key(0)


@pytest.fixture
def model(float64):
    return mlp(3, 2, width=4, depth=2, activation=jnp.tanh)


@eqx.filter_jit
def measured(first, now):
    """For each penalty, value and gradient at `now`, after 200 steps there from a start at `first`.
    The power iteration converges in that time."""

    def measure(penalty):
        state = penalty.init(first, key=KEY)
        if type(penalty).update is not algorithms.AbstractPenalty.update:
            follow = lambda state, _: (penalty.update(now, state, signal, key=KEY), None)
            state, _ = jax.lax.scan(follow, state, length=200)
        return eqx.filter_value_and_grad(penalty.value)(now, state, signal.step)

    signal = signal_at(now, jnp.ones((1, 1, 3)))
    return {name: measure(penalty) for name, (penalty, _) in PENALTIES.items()}


@functools.cache
def measured_here():
    """Two networks, and the measurements at the second one and at a network of zeros."""
    make = lambda seed: mlp(3, 2, width=4, depth=2, activation=jnp.tanh, seed=seed)
    first, other = make(0), make(1)
    now = numpy_map(lambda x, noise: x + 0.3 * noise, first, other)
    zero = numpy_map(lambda x: 0 * x, first)
    return first, now, measured(first, now), [measured(start, zero) for start in (zero, first)]


def l2_init(now, first, hidden):
    return 0.35 * sum(((a - b) ** 2).sum() for a, b in zip(now, first, strict=True))


def huber(now, first, hidden):
    gaps = np.concatenate([np.abs(a - b).ravel() for a, b in zip(now, first, strict=True)])
    assert (gaps < 0.2).any()
    assert (gaps > 0.2).any()
    return 0.7 * np.where(gaps < 0.2, gaps**2 / 2, 0.2 * (gaps - 0.1)).sum()


def wasserstein(now, first, hidden):
    pairs = [(np.sort(a.ravel()), np.sort(b.ravel())) for a, b in zip(now, first, strict=True)]
    return 0.7 * sum(((a - b) ** 2).sum() / a.size for a, b in pairs)


def spectral_norm(now, first, hidden):
    total = 0.0
    for a, b in zip(now, first, strict=True):
        if a.ndim == 2:
            total += (np.linalg.svd(a, compute_uv=False)[0] ** 2 - 1) ** 2
        else:
            total += ((a - b) ** 2).sum()
    return 0.7 * total


def odd_spectral_norm(now, first, hidden):
    norms = [np.linalg.svd(a, compute_uv=False)[0] for a in now if a.ndim == 2]
    vectors = [((a - b) ** 2).sum() for a, b in zip(now, first, strict=True) if a.ndim == 1]
    return 0.7 * (sum((s - 1) ** 2 for s in norms) + sum(vectors))


def parseval(now, first, hidden):
    grams = [(w @ w.T - 3 * np.eye(len(w)), len(w)) for w in hidden]
    return 0.7 * sum((64 / m) ** 2 * (g**2).sum() for g, m in grams)


PENALTIES = {
    "l2_init": (L2Init(0.7), l2_init),
    "huber": (L2Init(0.7, huber=0.2), huber),
    "wasserstein": (WassersteinInit(0.7), wasserstein),
    "spectral": (SpectralNorm(0.7), spectral_norm),
    "spectral_1": (SpectralNorm(0.7, power=1), odd_spectral_norm),
    "parseval": (Parseval(0.7, gain=3**0.5), parseval),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_value_and_gradient(name, float64):
    """The gradient matches finite differences, and is finite at a network of zeros."""
    oracle = PENALTIES[name][1]
    *networks, found, at_zero = measured_here()
    value, grads = found[name]
    first, leaves = (list(map(np.array, arrays(m))) for m in networks)

    def expected():
        hidden = [w for w in leaves if w.ndim == 2][:-1]
        return oracle(leaves, first, hidden)

    np.testing.assert_allclose(value, expected(), rtol=1e-6)
    for leaf, grad in zip(leaves, map(np.asarray, arrays(grads)), strict=True):
        for index in np.ndindex(leaf.shape):
            before = leaf[index]
            leaf[index] = before + 1e-6
            above = expected()
            leaf[index] = before - 1e-6
            slope = (above - expected()) / 2e-6
            leaf[index] = before
            np.testing.assert_allclose(grad[index], slope, rtol=1e-5, atol=1e-6)

    for measurements in at_zero:
        assert all(np.isfinite(g).all() for g in arrays(measurements[name][1]))


def test_the_spectral_norm_of_weights_whose_squares_leave_float32():
    rng = np.random.default_rng(0)
    layer = eqx.nn.Linear(3, 2, use_bias=False, key=KEY)
    ones = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    penalty = SpectralNorm(1.0, power=1)
    v = np.linalg.svd(ones)[2][0]
    at = lambda weight: eqx.tree_at(lambda m: m.weight, layer, weight)
    state = SpectralNormState((jnp.asarray(v),), ())
    u = np.asarray(ones) @ v
    u = u / np.linalg.norm(u)
    # (sigma - 1)^2 has the gradient 2 (sigma - 1) u v^T, and sigma is nearly 0.
    signal = signal_at(layer, jnp.ones((1, 1, 3)), taps={})
    slope = jax.grad(lambda w: penalty.value(at(w), state, signal.step))(1e-25 * ones)
    np.testing.assert_allclose(slope, -2 * np.outer(u, v), rtol=1e-4, atol=1e-6)
    # The iteration turns to the singular vector.
    for _ in range(3):
        state = penalty.update(at(1e-25 * ones), state, signal, key=KEY)
    np.testing.assert_allclose(np.abs(state.directions[0] @ v), 1, rtol=1e-5)
    state = SpectralNormState((jnp.asarray([1.0, 0.0, 0.0]),), ())
    moved = penalty.update(at(1e-25 * ones), state, signal, key=KEY).directions[0]
    expected = np.asarray(ones).T @ np.asarray(ones)[:, 0]
    np.testing.assert_allclose(moved, expected / np.linalg.norm(expected), rtol=1e-5)


def test_eigenvalues_of_the_barrier_whose_squares_leave_float32(float64):
    """-log(lambda^2 + epsilon) of a parabola with lambda = 1e200 falls by the slope of the size."""
    weights = barrier_weights(jnp.asarray([1e200, -1e200, 0.0, 3.0]), jnp.asarray(0.1))
    np.testing.assert_allclose(weights, [-2e-200, 2e-200, 0, -6 / 9.1], rtol=1e-12)


def test_power_iteration_follows_a_matrix_that_moves(model):
    """It takes one round per step, while the matrices change slowly."""
    penalty = SpectralNorm(1.0)

    @jax.jit
    def follow(params):
        static = eqx.filter(model, eqx.is_array, inverse=True)

        def step(carry, _):
            params, state = carry
            params = jax.tree.map(lambda x: x * 0.999, params)
            params = eqx.tree_at(lambda m: m.layers[1].weight, params, replace_fn=raised)
            return (
                params,
                penalty.update(eqx.combine(params, static), state, signal, key=KEY),
            ), None

        state = penalty.init(eqx.combine(params, static), key=KEY)
        return jax.lax.scan(step, (params, state), length=300)[0]

    signal = signal_at(model, jnp.ones((1, 1, 3)))
    raised = lambda w: w.at[0].add(0.01)
    params, state = follow(eqx.filter(model, eqx.is_array))
    matrices = [np.asarray(w) for w in arrays(params) if w.ndim == 2]
    for w, v in zip(matrices, map(np.asarray, state.directions), strict=True):
        largest = np.linalg.svd(w, compute_uv=False)[0]
        np.testing.assert_allclose(np.linalg.norm(w @ v), largest, rtol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(v), 1, rtol=1e-12)


def test_resampled_weights_equal_a_fresh_network(model):
    penalty, keys = L2Init(1.0, resample=True), jax.random.split(KEY)

    @eqx.filter_jit
    def states(model, keys):
        first = penalty.init(model, key=keys[0])
        fresh = [model.fresh(key=key) for key in keys]
        signal = signal_at(model, jnp.ones((1, 1, 3)))
        return (first, penalty.update(model, first, signal, key=keys[1])), fresh

    for state, fresh in zip(*states(model, keys), strict=True):
        for x, y in zip(arrays(state), arrays(fresh), strict=True):
            np.testing.assert_array_equal(x, y)


def test_curvature_barrier_is_a_step_on_the_log_of_the_eigenvalues(float64):
    """Finite differences of -sum log(lambda^2 + epsilon), from a Hessian of finite differences."""
    model = mlp(1, 1, width=2, depth=1, activation=jnp.tanh)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(4, 1, 1)) + 1)
    transform = CurvatureBarrier(0.01, window=4, epsilon=1e-2)
    after, _ = after_step(transform, learner_of(model), inputs, 3, key=KEY)
    x = np.asarray(inputs)[:, 0, 0]
    theta = np.concatenate([np.asarray(p).ravel() for p in arrays(model)])

    def loss(t):
        w1, b1, w2, b2 = t[:2], t[2:4], t[4:6], t[6]
        out = np.tanh(np.outer(x, w1) + b1) @ w2 + b2
        return (out**2).mean()

    def barrier(t, h=1e-3):
        eye = np.eye(7) * h
        hessian = np.array(
            [
                [
                    (loss(t + a + b) - loss(t + a - b) - loss(t - a + b) + loss(t - a - b))
                    / (4 * h**2)
                    for b in eye
                ]
                for a in eye
            ]
        )
        return -np.log(np.linalg.eigvalsh(hessian) ** 2 + 1e-2).sum()

    slope = [(barrier(theta + e) - barrier(theta - e)) / 2e-3 for e in np.eye(7) * 1e-3]
    step = np.concatenate([np.asarray(p).ravel() for p in arrays(after.model)]) - theta
    np.testing.assert_allclose(step, -0.01 * np.array(slope), atol=2e-6)

    flat = learner_of(numpy_map(lambda x: 0 * x, model))
    after, _ = after_step(transform, flat, inputs, 3, key=KEY)
    assert all(np.isfinite(p).all() for p in arrays(after.model))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L2Init(-1.0), "`strength` is -1.0"),
        (lambda: L2Init(1.0, huber=0.0), "`huber` is 0.0"),
        (lambda: WassersteinInit(float("nan")), "`strength` is nan"),
        (lambda: SpectralNorm(1.0, power=0), "`power` is 0"),
        (lambda: Parseval(1.0, gain=0.0), "`gain` is 0.0"),
        (lambda: ChurnReduction(scale=-1.0), "`scale` is -1.0"),
        (lambda: ChurnReduction(floor=-1.0), "`floor` is -1.0"),
        (lambda: ChurnReduction(window=0), "`window` is 0"),
        (lambda: ChurnReduction(initial_chunks=0), "`initial_chunks` is 0"),
        (lambda: CurvatureBarrier(0.0), "`lr` is 0.0"),
        (lambda: CurvatureBarrier(1.0, window=0), "`window` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_models_that_are_rejected():
    linear = eqx.nn.Linear(2, 2, key=KEY)
    with pytest.raises(TypeError, match="Linear without a method `units\\(\\)`"):
        Parseval(1.0).init(linear, key=KEY)
    with pytest.raises(TypeError, match="Linear without a method `fresh\\(key=...\\)`"):
        L2Init(1.0, resample=True).init(linear, key=KEY)
    wide = learner_of(mlp(3, 2, width=100, depth=2))
    with pytest.raises(ValueError, match="has 10702 parameters: use it with at most 2000"):
        after_step(CurvatureBarrier(1.0), wide, jnp.ones((1, 1, 3)), key=KEY)


class KeyPenalty(algorithms.AbstractPenalty[jax.Array]):
    """Its state is the last key."""

    def init(self, model, *, key):
        return jax.random.key_data(key)

    def value(self, model, state, step):
        return jnp.zeros(())

    def update(self, model, state, signal, *, key):
        return jax.random.key_data(key)


def test_the_update_of_a_penalty_reaches_the_next_step():
    """The algorithm passes a separate key to each penalty and keeps what it returns; without an
    `update` the state stays."""
    penalties = (KeyPenalty(), KeyPenalty(), WassersteinInit(1.0))
    algo = algorithms.Algorithm(algorithms.sgd(0.1), penalties=penalties)

    @eqx.filter_jit
    def states(model, first, second):
        learner, state = algo.init(model, None, key=first)
        _, after = algo.update(learner, state, signal_at(model, jnp.ones((1, 1, 3))), key=second)
        return state, after

    state, after = states(mlp(3, 2, width=4, depth=1), *jax.random.split(KEY))
    seen = [tuple(s.tolist()) for s in (*state.penalties[:2], *after.penalties[:2])]
    assert len(set(seen)) == 4
    for a, b in zip(arrays(state.penalties[2]), arrays(after.penalties[2]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_distribution_in_single_precision():
    """Weights are sorted as integers: signs, zeros, equal ones, subnormals, infinities."""
    numbers = [-3.0, 2.0, -0.0, 0.0, 2.0, -jnp.inf, 1e-40, -1e-40, jnp.inf, -2.5, 7e37, -7e37]
    penalty = WassersteinInit(1.0)
    matrix = {"w": jnp.asarray(np.reshape(numbers, (3, 4)), jnp.float32)}
    first = jax.jit(lambda m: penalty.init(m, key=KEY))(matrix)["w"]
    np.testing.assert_array_equal(first, np.sort(np.array(numbers, np.float32)))

    start, now = (np.random.default_rng(i).normal(size=(5, 6)).astype("f") for i in (0, 1))
    step = step_at({}, jnp.ones((1, 1, 3)))
    grad_of = lambda now, start: jax.grad(penalty.value)(now, penalty.init(start, key=KEY), step)
    grad = jax.jit(grad_of)(now, start)
    ranks = now.ravel().argsort().argsort().reshape(now.shape)
    expected = 2 * (now - np.sort(start.ravel())[ranks]) / now.size
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-7)


def policy(mean):
    means = jnp.asarray(mean)
    return PolicyAndValue(GaussianPolicy(means, jnp.zeros_like(means)), jnp.ones(len(means)))


def test_the_churn_of_outputs(float64):
    """The numbers of a policy of two actions, and the mean square of other changes."""
    a, b = np.random.default_rng(0).normal(size=(2, 4, 2))

    @jax.jit
    def measure(now, before, a, b):
        now, before = CategoricalPolicy(jnp.log(now)), CategoricalPolicy(jnp.log(before))
        changed, same = jax.value_and_grad(churn)(now, before), jax.grad(churn)(now, now)
        return changed, same, churn(a, b), churn(policy(a), policy(b))

    pair = (jnp.array([[0.8, 0.2]]), jnp.array([[0.5, 0.5]]))
    (value, grad), same, *squares = measure(*pair, jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(value, 0.91629073, rtol=1e-7)
    np.testing.assert_allclose(grad.logits, [[0.3, -0.3]], rtol=1e-6)
    np.testing.assert_allclose(same.logits, 0, atol=1e-7)
    np.testing.assert_allclose(squares, ((a - b) ** 2).mean())
    with pytest.raises(TypeError, match="outputs of type tuple, whose churn is not defined"):
        churn((a,), (b,))


def along(model, model_state, batch, *, key, inference):
    outputs = model["theta"] * batch
    if model["critic"] is not None:
        policy = GaussianPolicy(outputs[:, None], jnp.zeros_like(batch)[:, None])
        outputs = PolicyAndValue(policy, model["critic"] * batch)
    return outputs, Aux({}, None)


def test_c_chain_step_by_step(float64):
    """f = theta x, with the losses 1, 2, 3, ...: the value, the gradient and the coefficient of
    eight steps of two tasks, against Python. With a policy the window restarts; with values, as in
    DQN, it is kept, and the initial coefficient holds for two steps that count."""
    inputs = np.array([[1.0, 2.0], [3.0, 4.0]])
    common = {"scale": 0.5, "initial": 7.0, "initial_chunks": 1, "window": 3}
    thetas = np.array([1.0, 1.5, 1.0, 3.0, 3.5, 3.4, 4.4, 1.0, 0.0])

    @eqx.filter_jit
    def one(penalty, state, theta, clock, loss, reference, critic):
        model = {"theta": theta, "critic": critic}
        plain = step_at(model, jnp.asarray(inputs))
        step = replace(plain, clock=clock, reference=reference, forward=along)
        found = jax.value_and_grad(penalty.value)(model, state, step)
        signal = replace(signal_at(None, jnp.asarray(inputs), taps={}), step=step, loss=loss)
        signal = replace(signal, metrics={"policy_loss": -loss})
        after = {**model, "theta": theta - 5}
        return found, penalty.update(after, state, signal, key=KEY)

    for critic in (None, jnp.asarray(1.0)):
        restarts = critic is not None
        floor = 1.6 if restarts else 0.0
        penalty = ChurnReduction(**common, floor=floor, restarts=restarts)
        state, before, losses, churns, floored = None, thetas[0], [], [], set()
        for i in range(8):
            task, chunk, step_in_chunk = i // 4, i % 4 // 2, i % 2
            clock = Clock(*(jnp.asarray(n, int) for n in (i, step_in_chunk, chunk, task)))
            model = {"theta": jnp.asarray(thetas[i]), "critic": critic}
            state = penalty.init(model, key=KEY) if state is None else state
            loss, batch = jnp.asarray(i + 1.0), inputs[i % 3 % 2]
            (value, grad), state = one(
                penalty, state, model["theta"], clock, loss, jnp.asarray(i % 3 % 2), critic
            )
            churned = (thetas[i] - before) ** 2 * (np.asarray(batch) ** 2).mean()
            slope = 2 * (thetas[i] - before) * (np.asarray(batch) ** 2).mean()
            if restarts and i % 4 == 0:
                losses, churns = [], []
            if (chunk == 0 or not churns) if restarts else len(churns) < 2:
                expected = 7.0
            else:
                expected = 0.5 * np.mean(losses[-3:]) / (np.mean(churns[-3:]) + 1e-8)
                floored.add(bool(expected < floor))
                expected = max(expected, floor)
            expected = 0.0 if i < 2 else expected
            np.testing.assert_allclose(value, expected * churned, rtol=1e-6)
            np.testing.assert_allclose(grad["theta"], expected * slope, rtol=1e-6)
            assert critic is None or grad["critic"] == 0
            if i >= 2:
                losses, churns = [*losses, i + 1], [*churns, churned]
            before = thetas[i]
        assert len(floored) == 1 + restarts


def test_a_stream_without_a_policy_loss_is_rejected():
    model = {"theta": jnp.asarray(1.0), "critic": jnp.asarray(1.0)}
    signal = signal_at(model, jnp.ones((1, 2)), taps={})
    signal = replace(signal, step=replace(signal.step, forward=along))
    penalty = ChurnReduction()
    state = penalty.init(model, key=KEY)
    with pytest.raises(
        ValueError, match="metrics \\[\\], but `ChurnReduction` needs `policy_loss`"
    ):
        eqx.filter_eval_shape(penalty.update, model, state, signal, key=KEY)
