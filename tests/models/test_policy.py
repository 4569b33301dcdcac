"""Policies against SciPy, their Fisher information against the divergence, and the actor-critic."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from networks import ByKey, drawn

from spectral import models
from spectral.models import ActorCritic, CategoricalPolicy, GaussianPolicy, LecunUniform


pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(0)
LOGITS = np.array([[0.3, -1.0, 2.0], [0.0, 5.0, -2.0]])
MEAN, LOG_STD = np.array([[0.5, -1.0], [2.0, 0.1]]), np.array([[-0.3, 0.4], [0.2, -1.0]])


def gaussian_divergence(p: GaussianPolicy, q: GaussianPolicy) -> jax.Array:
    variances = jnp.exp(2 * p.log_std), jnp.exp(2 * q.log_std)
    terms = (variances[0] + (p.mean - q.mean) ** 2) / (2 * variances[1]) - 0.5
    return jnp.sum(terms + q.log_std - p.log_std)


def categorical_divergence(p: CategoricalPolicy, q: CategoricalPolicy) -> jax.Array:
    logs = jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
    return jnp.sum(jnp.exp(logs[0]) * (logs[0] - logs[1]))


# A policy for two examples, an action of each, and the divergence of one policy from another.
POLICIES = {
    "gaussian": (
        lambda: GaussianPolicy(jnp.asarray(MEAN), jnp.asarray(LOG_STD)),
        np.array([[0.1, 0.2], [1.5, -0.3]]),
        gaussian_divergence,
    ),
    "categorical": (
        lambda: CategoricalPolicy(jnp.asarray(LOGITS)),
        np.array([2, 0]),
        categorical_divergence,
    ),
}


@functools.cache
def measured(name: str) -> dict[str, Any]:
    """Everything the tests compare, from one program."""
    make, action, divergence = POLICIES[name]

    @jax.jit
    def of(policy):
        flat, unravel = jax.flatten_util.ravel_pytree(policy)
        ravel = lambda p: jax.flatten_util.ravel_pytree(p)[0]
        keys = jax.random.split(KEY, 20_000)
        return {
            "example": ravel(
                jax.tree.map(lambda leaf: 0 * leaf + jnp.arange(2.0)[:, None], policy)
            ),
            "log_probability": policy.log_probability(jnp.asarray(action)),
            "entropy": policy.entropy(),
            "mode": policy.mode(),
            "samples": jax.vmap(lambda k: policy.sample(key=k))(keys),
            "scores": jax.vmap(lambda k: ravel(policy.sampled_score(key=k)))(keys),
            "product": jax.vmap(lambda t: ravel(policy.fisher_product(unravel(t))))(
                jnp.eye(flat.size)
            ),
            "root": jax.vmap(ravel)(policy.fisher_root()),
            "fisher": jax.hessian(lambda q: divergence(policy, unravel(q)))(flat),
        }

    return {name: np.asarray(found) for name, found in of(make()).items()}


def test_gaussian_matches_scipy():
    found, action = measured("gaussian"), POLICIES["gaussian"][1]
    std = np.exp(LOG_STD)
    expected = scipy.stats.norm.logpdf(action, MEAN, std).sum(axis=1)
    np.testing.assert_allclose(found["log_probability"], expected)
    np.testing.assert_allclose(found["entropy"], scipy.stats.norm.entropy(MEAN, std).sum(axis=1))
    np.testing.assert_array_equal(found["mode"], MEAN)
    np.testing.assert_allclose(found["samples"].mean(axis=0), MEAN, atol=0.05)
    np.testing.assert_allclose(found["samples"].std(axis=0), std, rtol=0.05)


def test_categorical_matches_scipy():
    found = measured("categorical")
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["log_probability"], np.log([p[0, 2], p[1, 0]]))
    np.testing.assert_allclose(found["entropy"], scipy.stats.entropy(p, axis=1))
    np.testing.assert_array_equal(found["mode"], [2, 1])
    fractions = np.stack([(found["samples"] == a).mean(axis=0) for a in range(3)], axis=1)
    np.testing.assert_allclose(fractions, p, atol=0.015)
    impossible = CategoricalPolicy(jnp.array([0.0, -jnp.inf]))
    np.testing.assert_allclose(jax.jit(lambda p: p.entropy())(impossible), 0.0)


@pytest.mark.parametrize("name", POLICIES)
def test_fisher_information_is_the_hessian_of_the_divergence(name):
    found = measured(name)
    fisher = found["fisher"]
    np.testing.assert_allclose(found["product"].T, fisher, atol=1e-12)
    # The root has the columns of both examples, which do not depend on each other.
    for i in range(2):
        mine = found["example"] == i
        columns, block = np.where(mine, found["root"], 0), np.where(mine[:, None] & mine, fisher, 0)
        np.testing.assert_allclose(columns.T @ columns, block, atol=1e-12)


@pytest.mark.parametrize("name", POLICIES)
def test_sampled_scores_have_the_fisher_information_as_covariance(name):
    scores, fisher = measured(name)["scores"], measured(name)["fisher"]
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(scores.T), fisher, atol=0.05 * np.abs(fisher).max())


def test_an_actor_critic_consists_of_two_mlps():
    make = lambda key: ActorCritic(3, 2, width=5, depth=2, key=key)
    model = drawn(make, KEY)
    model = eqx.tree_at(lambda m: m.log_std, model, jnp.array([-0.7, 0.2]))
    x = np.array([0.3, -1.0, 2.0])
    outputs, taps = eqx.filter_jit(lambda m, x: m(x))(model, jnp.asarray(x))

    def by_hand(layers):
        y = x
        for layer in layers[:-1]:
            y = np.maximum(np.asarray(layer.weight) @ y + np.asarray(layer.bias), 0)
        return np.asarray(layers[-1].weight) @ y + np.asarray(layers[-1].bias)

    np.testing.assert_allclose(outputs.policy.mean, by_hand(model.actor.layers))
    np.testing.assert_allclose(outputs.value, by_hand(model.critic.layers)[0])
    np.testing.assert_array_equal(outputs.policy.log_std, [-0.7, 0.2])
    names = ["actor_hidden_0", "actor_hidden_1", "critic_hidden_0", "critic_hidden_1"]
    assert list(taps) == [group.name for group in model.units()] == names


def test_the_defaults_match_dohare_et_al():
    model = eqx.filter_eval_shape(lambda key: ActorCritic(27, 8, key=key), KEY)
    shapes = [[layer.weight.shape for layer in net.layers] for net in (model.actor, model.critic)]
    assert shapes == [[(256, 27), (256, 256), (8, 256)], [(256, 27), (256, 256), (1, 256)]]
    for initialiser in (model.actor.initialiser, model.actor_head, model.critic_head):
        assert initialiser == LecunUniform()
    assert model.initial_log_std == 0


def test_initialisers_of_an_actor_critic():
    heads = {"actor_head": ByKey(scale=1.0), "critic_head": ByKey(scale=100.0)}
    options = {"initialiser": ByKey(scale=10.0), "initial_log_std": -0.7, **heads}

    @eqx.filter_jit
    def both(a, b):
        model = ActorCritic(6, 3, width=8, depth=1, **options, key=a)
        assert model.log_std is not None
        moved = eqx.tree_at(lambda m: m.log_std, model, model.log_std + 1)
        return model, moved.fresh(key=b)

    drawn = []
    for model in both(KEY, jax.random.key(1)):
        for network, head in ((model.actor, 1), (model.critic, 100)):
            for layer, scale in zip(network.layers, (10, head), strict=True):
                drawn.append(np.asarray(layer.weight) / scale)
                assert ((drawn[-1] >= 1) & (drawn[-1] < 2)).all()
        np.testing.assert_array_equal(model.log_std, [-0.7] * 3)
    assert len({weight[0, 0] for weight in drawn}) == len(drawn)


def test_a_discrete_actor_critic_has_no_standard_deviation():
    make = lambda key: ActorCritic(2, 4, discrete=True, width=3, key=key)
    discrete = eqx.filter_eval_shape(lambda key: make(key).fresh(key=key), KEY)
    assert discrete.log_std is None
    policy = eqx.filter_eval_shape(lambda m, x: m(x)[0].policy, discrete, jnp.ones(2))
    assert isinstance(policy, CategoricalPolicy)
    assert policy.logits.shape == (4,)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`initial_log_std` is nan"):
        ActorCritic(2, 1, initial_log_std=float("nan"), key=KEY)
    with pytest.raises(ValueError, match="`width` is 0"):
        ActorCritic(2, 1, width=0, key=KEY)
    model = drawn(lambda key: ActorCritic(2, 1, width=3, key=key), KEY)
    with pytest.raises(ValueError, match="takes vectors of 2"):
        model(jnp.ones(3))
    with pytest.raises(ValueError, match="`scale` is 0"):
        models.Orthogonal(scale=0.0)
