"""Policies against SciPy, their Fisher information against the divergence, and the actor-critic."""

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from spectral import models
from spectral.models import ActorCritic, CategoricalPolicy, GaussianPolicy, Orthogonal


pytestmark = pytest.mark.usefixtures("float64")
LOGITS = np.array([[0.3, -1.0, 2.0], [0.0, 5.0, -2.0]])


def gaussian() -> GaussianPolicy:
    mean = jnp.array([[0.5, -1.0], [2.0, 0.1]])
    return GaussianPolicy(mean, jnp.array([[-0.3, 0.4], [0.2, -1.0]]))


def gaussian_divergence(p: GaussianPolicy, q: GaussianPolicy) -> jax.Array:
    variances = jnp.exp(2 * p.log_std), jnp.exp(2 * q.log_std)
    terms = (variances[0] + (p.mean - q.mean) ** 2) / (2 * variances[1]) - 0.5
    return jnp.sum(terms + q.log_std - p.log_std)


def categorical_divergence(p: CategoricalPolicy, q: CategoricalPolicy) -> jax.Array:
    logs = jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
    return jnp.sum(jnp.exp(logs[0]) * (logs[0] - logs[1]))


POLICIES = {
    "gaussian": (gaussian, gaussian_divergence),
    "categorical": (lambda: CategoricalPolicy(jnp.asarray(LOGITS)), categorical_divergence),
}


def test_gaussian_against_scipy():
    policy, action = gaussian(), jnp.array([[0.1, 0.2], [1.5, -0.3]])
    std = np.exp(policy.log_std)
    expected = scipy.stats.norm.logpdf(action, policy.mean, std).sum(axis=1)
    np.testing.assert_allclose(policy.log_probability(action), expected)
    expected = scipy.stats.norm.entropy(policy.mean, std).sum(axis=1)
    np.testing.assert_allclose(policy.entropy(), expected)
    np.testing.assert_array_equal(policy.mode(), policy.mean)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.jit(jax.vmap(lambda k: policy.sample(key=k)))(keys)
    np.testing.assert_allclose(drawn.mean(axis=0), policy.mean, atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), std, rtol=0.1)


def test_categorical_against_scipy():
    policy = CategoricalPolicy(jnp.asarray(LOGITS))
    p = jax.nn.softmax(LOGITS)
    np.testing.assert_allclose(
        policy.log_probability(jnp.array([2, 0])), np.log([p[0, 2], p[1, 0]])
    )
    np.testing.assert_allclose(policy.entropy(), scipy.stats.entropy(p, axis=1))
    np.testing.assert_array_equal(policy.mode(), [2, 1])
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.jit(jax.vmap(lambda k: policy.sample(key=k)))(keys)
    fractions = np.stack([(drawn == a).mean(axis=0) for a in range(3)], axis=1)
    np.testing.assert_allclose(fractions, p, atol=0.03)
    impossible = CategoricalPolicy(jnp.array([0.0, -jnp.inf]))
    np.testing.assert_allclose(impossible.entropy(), 0.0)


def fisher(name: str, policy: models.AbstractPolicy) -> np.ndarray:
    """The Hessian of the divergence from a policy to its neighbours, where they are equal."""
    flat, unravel = jax.flatten_util.ravel_pytree(policy)
    return np.asarray(jax.jit(jax.hessian(lambda q: POLICIES[name][1](policy, unravel(q))))(flat))


def fisher_by_products(policy: models.AbstractPolicy) -> np.ndarray:
    flat, unravel = jax.flatten_util.ravel_pytree(policy)
    product = lambda t: jax.flatten_util.ravel_pytree(policy.fisher_product(unravel(t)))[0]
    return np.asarray(jax.jit(jax.vmap(product))(jnp.eye(flat.size)).T)


@pytest.mark.parametrize("name", POLICIES)
def test_fisher_information_is_the_hessian_of_the_divergence(name):
    policy = POLICIES[name][0]()
    np.testing.assert_allclose(fisher_by_products(policy), fisher(name, policy), atol=1e-12)
    leaves = jax.tree.leaves(policy.fisher_root())
    columns = jnp.concatenate([x.transpose(1, 2, 0) for x in leaves], axis=1)
    blocks = [fisher(name, jax.tree.map(lambda x, n=n: x[n], policy)) for n in range(2)]
    np.testing.assert_allclose(columns @ columns.transpose(0, 2, 1), blocks, atol=1e-12)


@pytest.mark.parametrize("name", POLICIES)
def test_sampled_scores_have_the_fisher_information_as_covariance(name):
    policy = jax.tree.map(lambda x: x[0], POLICIES[name][0]())
    keys = jax.random.split(jax.random.key(1), 20_000)
    scores = jax.vmap(lambda k: jax.flatten_util.ravel_pytree(policy.sampled_score(key=k))[0])(keys)
    expected = fisher_by_products(policy)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(np.cov(scores.T), expected, atol=0.05 * np.abs(expected).max())


def test_actor_critic_is_two_networks(getkey):
    model = ActorCritic(3, 2, width=5, depth=2, initial_log_std=-0.7, key=getkey())
    x = jnp.array([0.3, -1.0, 2.0])
    outputs, taps = model(x)
    policy: Any = outputs.policy

    def by_hand(layers):
        y = x
        for layer in layers[:-1]:
            y = jnp.maximum(layer.weight @ y + layer.bias, 0)
        return layers[-1].weight @ y + layers[-1].bias

    np.testing.assert_allclose(policy.mean, by_hand(model.actor.layers))
    np.testing.assert_allclose(outputs.value, by_hand(model.critic.layers)[0])
    np.testing.assert_array_equal(policy.log_std, [-0.7, -0.7])
    names = ["actor_hidden_0", "actor_hidden_1", "critic_hidden_0", "critic_hidden_1"]
    assert list(taps) == [group.name for group in model.units()] == names
    weights = [layer.weight for net in (model.actor, model.critic) for layer in net.layers]
    assert not np.array_equal(weights[0], weights[3])


def test_actor_critic_begins_as_asked(getkey):
    model = ActorCritic(300, 4, width=200, depth=1, key=getkey())
    for network in (model.actor, model.critic):
        for layer in network.layers:
            bound = (3 / layer.weight.shape[1]) ** 0.5
            assert 0.95 * bound < jnp.abs(layer.weight).max() <= bound
            assert not np.any(layer.bias)
    model = ActorCritic(
        6,
        3,
        width=8,
        depth=1,
        initialiser=Orthogonal(),
        actor_head=Orthogonal(scale=0.01),
        critic_head=Orthogonal(scale=1.0),
        key=getkey(),
    )
    for now in (model, model.fresh(key=getkey())):
        first, head = (layer.weight for layer in now.actor.layers)
        np.testing.assert_allclose(first.T @ first, 2 * np.eye(6), atol=1e-12)
        np.testing.assert_allclose(head @ head.T, 1e-4 * np.eye(3), atol=1e-12)
        value = now.critic.layers[-1].weight
        np.testing.assert_allclose(value @ value.T, [[1.0]])
    assert not np.array_equal(first, model.actor.layers[0].weight)


def test_a_fresh_actor_critic_has_the_standard_deviation_of_the_beginning(getkey):
    model = ActorCritic(2, 1, width=3, initial_log_std=0.5, key=getkey())
    moved = jax.tree.map(lambda x: x + 1 if isinstance(x, jax.Array) else x, model)
    np.testing.assert_array_equal(moved.fresh(key=getkey()).log_std, [0.5])
    discrete = ActorCritic(2, 4, discrete=True, width=3, key=getkey())
    assert discrete.log_std is None
    outputs, _ = discrete.fresh(key=getkey())(jnp.zeros(2))
    assert isinstance(outputs.policy, CategoricalPolicy)
    assert outputs.policy.logits.shape == (4,)


def test_bad_actor_critics(getkey):
    with pytest.raises(ValueError, match="`initial_log_std` is nan"):
        ActorCritic(2, 1, initial_log_std=float("nan"), key=getkey())
    with pytest.raises(ValueError, match="`width` is 0"):
        ActorCritic(2, 1, width=0, key=getkey())
    with pytest.raises(ValueError, match="takes vectors of 2"):
        ActorCritic(2, 1, width=3, key=getkey())(jnp.zeros(3))
    with pytest.raises(ValueError, match="`scale` is 0"):
        models.Orthogonal(scale=0.0)
