"""The loss of PPO against NumPy, and its curvature against automatic differentiation."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from spectral import models
from spectral.curvature import GaussNewton, Hessian, KFAC, Risk
from spectral.tasks import ClippedSurrogate, PPOBatch


KEY = jax.random.key(3)


def surrogate(clip_value: bool = False) -> ClippedSurrogate:
    clip, value_weight, entropy_weight = map(jnp.asarray, (0.2, 0.7, 0.03))
    return ClippedSurrogate(clip, value_weight, entropy_weight, clip_value)


def test_surrogate_matches_numpy():
    rng = np.random.default_rng(1)
    n = 200
    mean, log_std, action = rng.normal(size=(3, n, 2))
    old = scipy.stats.norm.logpdf(action, mean, np.exp(log_std)).sum(axis=1)
    old = old + 0.3 * rng.normal(size=n)
    advantage, target, value = rng.normal(size=(3, n))
    then = value + 0.4 * rng.normal(size=n)
    ratio = np.exp(scipy.stats.norm.logpdf(action, mean, np.exp(log_std)).sum(axis=1) - old)
    # A positive advantage gains nothing from a ratio above 1.2, a negative one from one below 0.8.
    capped = np.where(advantage > 0, np.minimum(ratio, 1.2), np.maximum(ratio, 0.8))
    squares = (value - target) ** 2
    near = np.clip(value, then - 0.2, then + 0.2)
    clipped_squares = np.maximum(squares, (near - target) ** 2)
    entropy = scipy.stats.norm.entropy(mean, np.exp(log_std)).sum(axis=1)

    @jax.jit
    def both(arrays):
        mean, log_std, value, batch = arrays
        outputs = models.PolicyAndValue(models.GaussianPolicy(mean, log_std), value)
        losses = [surrogate(clip_value).losses(outputs, batch) for clip_value in (False, True)]
        return *losses, surrogate().metrics(outputs, batch)

    batch = PPOBatch(*map(jnp.asarray, (mean, action, old, advantage, target, then)))
    *losses, metrics = both((*map(jnp.asarray, (mean, log_std, value)), batch))
    for got, value_loss in zip(losses, (squares, clipped_squares), strict=True):
        expected = -capped * advantage + 0.7 * value_loss - 0.03 * entropy
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-4)
    expected = {
        "policy_loss": -capped * advantage,
        "value_loss": squares,
        "entropy": entropy,
        "approx_kl": ratio - 1 - np.log(ratio),
        "clip_fraction": (ratio > 1.2) | (ratio < 0.8),
    }
    assert set(metrics) == set(expected)
    for name, each in expected.items():
        np.testing.assert_allclose(metrics[name], each.mean(), rtol=1e-3)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("discrete", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_curvature_of_a_policy(discrete):
    """The Gauss-Newton matrix has the Hessian of the divergence from the policy and of the value
    loss, between the Jacobians of the network."""

    @jax.jit
    def matrices(key):
        keys = jax.random.split(key, 4)
        options = {"width": 2, "depth": 1, "discrete": discrete}
        model: Any = models.ActorCritic(2, 2, key=keys[0], **options)
        x = jax.random.normal(keys[1], (4, 2))
        before = jax.vmap(model)(x)[0]
        policy: Any = before.policy
        action = before.policy.sample(key=keys[2])
        noise = jax.random.normal(keys[3], (4, 4))
        old = before.policy.log_probability(action) + 0.2 * noise[0]
        batch = PPOBatch(x, action, old, *noise[1:])
        params, static = eqx.partition(model, eqx.is_inexact_array)
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        network = lambda p: jax.vmap(eqx.combine(unravel(p), static))(x)[0]
        outputs, unravel_outputs = jax.flatten_util.ravel_pytree(before)

        def distance(outputs):
            new, old = unravel_outputs(outputs), policy
            if discrete:
                logs = jax.nn.log_softmax(old.logits), jax.nn.log_softmax(new.policy.logits)
                divergence = jnp.sum(jnp.exp(logs[0]) * (logs[0] - logs[1]), axis=1)
            else:
                ratio = jnp.exp(2 * (old.log_std - new.policy.log_std))
                shift = (old.mean - new.policy.mean) ** 2 * jnp.exp(-2 * new.policy.log_std)
                divergence = jnp.sum(0.5 * (ratio + shift) + new.policy.log_std, axis=1)
            return jnp.mean(divergence + 0.7 * (new.value - batch.target) ** 2)

        jacobian = jax.jacobian(lambda p: jax.flatten_util.ravel_pytree(network(p))[0])(flat)
        risk = Risk(_forward, surrogate(), batch, batch, batch_size=2)
        matrix = GaussNewton(risk, model)
        expected = jacobian.T @ jax.hessian(distance)(outputs) @ jacobian
        return expected, matrix.dense(), matrix.gram().dense()

    expected, matrix, gram = matrices(KEY)
    np.testing.assert_allclose(matrix, expected, atol=1e-9)
    values, gram = np.linalg.eigvalsh(expected), np.linalg.eigvalsh(gram)
    kept = values[values > 1e-9]
    assert len(kept) > 4
    np.testing.assert_allclose(gram[-len(kept) :], kept, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_hessian_of_the_surrogate():
    @jax.jit
    def matrices(key):
        keys = jax.random.split(key)
        model = models.ActorCritic(2, 2, width=2, depth=1, key=keys[0])
        noise = jax.random.normal(keys[1], (4, 8))
        batch = PPOBatch(noise[:, :2], noise[:, 2:4], *noise[:, 4:].T)
        risk = Risk(_forward, surrogate(), batch, batch, batch_size=2)
        params, static = eqx.partition(model, eqx.is_inexact_array)
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        network = lambda p: _forward(eqx.combine(unravel(p), static), batch)
        losses = lambda p: surrogate().losses(network(p), batch).mean()
        return jax.hessian(losses)(flat), Hessian(risk, model).dense()

    expected, matrix = matrices(KEY)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(matrix, expected, atol=1e-9)


def _forward(model: Any, batch: PPOBatch) -> Any:
    return jax.vmap(model)(batch.observation)[0]


@pytest.mark.usefixtures("float64")
def test_sampled_gradients_have_the_covariance_of_the_curvature():
    @jax.jit
    def look(logits, value, key):
        outputs = models.PolicyAndValue(models.CategoricalPolicy(logits), value)
        loss = surrogate()
        batch = PPOBatch(jnp.zeros((1, 1)), *[jnp.zeros(1)] * 5)
        flat, unravel = jax.flatten_util.ravel_pytree(outputs)
        ravel = lambda tree: jax.flatten_util.ravel_pytree(tree)[0]
        product = lambda t: ravel(loss.hessian_product(outputs, batch, unravel(t)))
        drawn = lambda k: ravel(loss.sampled_gradient(outputs, batch, key=k))
        return jax.vmap(product)(jnp.eye(flat.size)), jax.vmap(drawn)(jax.random.split(key, 20_000))

    matrix, drawn = look(np.array([[0.3, -1.0, 1.0]]), np.array([0.2]), KEY)
    np.testing.assert_allclose(np.cov(drawn.T), matrix, atol=0.03)
    np.testing.assert_allclose(np.mean(drawn, axis=0), 0, atol=0.03)


def test_kfac_has_an_exact_block_for_the_standard_deviation():
    def factors(key):
        model = models.ActorCritic(3, 2, width=3, depth=1, key=key)
        x = jnp.ones((2, 3))
        batch = PPOBatch(x, x[:, :2], *[jnp.zeros(2)] * 4)
        return KFAC(Risk(_forward, surrogate(), batch, batch), model)

    kfac = eqx.filter_eval_shape(factors, KEY)
    (block,) = [block for block in kfac.blocks if block.name == "log_std"]
    assert block.shape == (1, 2)
