"""Every penalty against NumPy, its gradient against finite differences, and one that evolves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import arrays, learner_of, signal_at

from spectral import algorithms, models
from spectral.algorithms import (
    CurvatureBarrier,
    L2Init,
    Parseval,
    SpectralNorm,
    WassersteinInit,
)


@pytest.fixture
def model(float64, getkey):
    return models.MLP(3, 2, width=4, depth=2, activation=jnp.tanh, key=getkey())


def moved(model, key):
    params, static = eqx.partition(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    leaves = [p + 0.3 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, leaves), static)


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
def test_value_and_gradient(name, model, getkey):
    penalty, oracle = PENALTIES[name]
    state = penalty.init(model, key=getkey())
    now = moved(model, getkey())
    update = eqx.filter_jit(penalty.update)
    for _ in range(200):  # the power iteration follows
        state = update(now, state, key=getkey())
    value, grads = eqx.filter_value_and_grad(penalty.value)(now, state)
    first, leaves = (list(map(np.array, arrays(m))) for m in (model, now))

    def expected():
        hidden = [w for w in leaves if w.ndim == 2][:-1]
        return oracle(leaves, first, hidden)

    np.testing.assert_allclose(value, expected(), rtol=1e-6)
    for leaf, grad in zip(leaves, jax.tree.leaves(grads), strict=True):
        for index in np.ndindex(leaf.shape):
            before = leaf[index]
            leaf[index] = before + 1e-6
            above = expected()
            leaf[index] = before - 1e-6
            slope = (above - expected()) / 2e-6
            leaf[index] = before
            np.testing.assert_allclose(grad[index], slope, rtol=1e-5, atol=1e-6)


def test_power_iteration_follows_a_matrix_that_moves(model, getkey):
    penalty = SpectralNorm(1.0)
    state = penalty.init(model, key=getkey())
    update = eqx.filter_jit(penalty.update)
    for _ in range(300):
        model = jax.tree.map(lambda x: x * 0.999 if eqx.is_array(x) else x, model)
        model = eqx.tree_at(
            lambda m: m.layers[1].weight, model, replace_fn=lambda w: w.at[0].add(0.01)
        )
        state = update(model, state, key=getkey())
    matrices = [w for w in arrays(model) if w.ndim == 2]
    for w, v in zip(matrices, state.directions, strict=True):
        largest = np.linalg.svd(np.asarray(w), compute_uv=False)[0]
        np.testing.assert_allclose(np.linalg.norm(w @ v), largest, rtol=2e-3)


def test_a_zero_network_has_finite_gradients(model, getkey):
    zero = jax.tree.map(lambda x: 0 * x if eqx.is_array(x) else x, model)
    for penalty, _ in PENALTIES.values():
        for begin in (zero, model):
            state = penalty.update(zero, penalty.init(begin, key=getkey()), key=getkey())
            grads = eqx.filter_grad(penalty.value)(zero, state)
            assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_resampled_weights_are_those_of_a_fresh_network(model, getkey):
    penalty = L2Init(1.0, resample=True)
    a, b = getkey(), getkey()
    first = penalty.init(model, key=a)
    second = penalty.update(model, first, key=b)
    for state, key in ((first, a), (second, b)):
        for x, y in zip(jax.tree.leaves(state), arrays(model.fresh(key=key)), strict=True):
            np.testing.assert_array_equal(x, y)


def test_curvature_barrier_is_a_step_on_the_log_of_the_eigenvalues(float64, getkey):
    """Finite differences of -sum log(lambda^2 + epsilon), from a Hessian of finite differences."""
    model = models.MLP(1, 1, width=2, depth=1, activation=jnp.tanh, key=getkey())
    inputs = jax.random.normal(getkey(), (4, 1, 1)) + 1
    transform = CurvatureBarrier(0.01, window=4, epsilon=1e-2)
    before = learner_of(model)
    update = eqx.filter_jit(transform.update)
    after, _ = update(before, None, signal_at(model, inputs, 3), key=getkey())
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L2Init(-1.0), "`strength` is -1.0"),
        (lambda: L2Init(1.0, huber=0.0), "`huber` is 0.0"),
        (lambda: WassersteinInit(float("nan")), "`strength` is nan"),
        (lambda: SpectralNorm(1.0, power=0), "`power` is 0"),
        (lambda: Parseval(1.0, gain=0.0), "`gain` is 0.0"),
        (lambda: CurvatureBarrier(0.0), "`lr` is 0.0"),
        (lambda: CurvatureBarrier(1.0, window=0), "`window` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_a_penalty_needs_of_a_model(getkey):
    linear = eqx.nn.Linear(2, 2, key=getkey())
    with pytest.raises(TypeError, match="Linear without a method `units\\(\\)`"):
        Parseval(1.0).init(linear, key=getkey())
    with pytest.raises(TypeError, match="Linear without a method `fresh\\(key=...\\)`"):
        L2Init(1.0, resample=True).init(linear, key=getkey())
    wide = models.MLP(3, 2, width=100, depth=2, key=getkey())
    with pytest.raises(ValueError, match="has 10702 parameters: use it with at most 2000"):
        CurvatureBarrier(1.0).update(
            learner_of(wide), None, signal_at(wide, jnp.ones((1, 1, 3))), key=getkey()
        )


def test_the_update_of_a_penalty_reaches_the_next_step(getkey):
    """The algorithm hands each penalty its own key and keeps what it returns."""
    model = models.MLP(3, 2, width=4, depth=1, key=getkey())
    algo = algorithms.Algorithm(
        algorithms.sgd(0.1),
        penalties=(L2Init(1.0, resample=True), L2Init(1.0, resample=True), SpectralNorm(1.0)),
    )
    learner, state = algo.init(model, None, key=getkey())
    _, after = algo.update(learner, state, signal_at(model, jnp.ones((1, 1, 3))), key=getkey())
    seen = [s.layers[0].weight for s in (*state.penalties[:2], *after.penalties[:2])]
    assert len({float(w[0, 0]) for w in seen}) == 4
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_the_distribution_in_single_precision():
    """Where weights are sorted as integers: signs, zeros, equal ones, subnormals, infinities."""
    numbers = [-3.0, 2.0, -0.0, 0.0, 2.0, -jnp.inf, 1e-40, -1e-40, jnp.inf, -2.5, 7e37, -7e37]
    first = WassersteinInit(1.0).init(
        {"w": jnp.asarray(numbers).reshape(3, 4)}, key=jax.random.key(0)
    )["w"]
    np.testing.assert_array_equal(first, np.sort(np.array(numbers, np.float32)))

    start, now = (np.random.default_rng(i).normal(size=(5, 6)).astype("f") for i in (0, 1))
    penalty = WassersteinInit(1.0)
    state = penalty.init(jnp.asarray(start), key=jax.random.key(0))
    grad = jax.jit(jax.grad(penalty.value))(jnp.asarray(now), state)
    ranks = now.ravel().argsort().argsort().reshape(now.shape)
    expected = 2 * (now - np.sort(start.ravel())[ranks]) / now.size
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-7)
