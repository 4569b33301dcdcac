"""Networks that are linear in their parameters, and initial weights of low rank."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from networks import drawn, mlp
from signals import arrays, learner_of
from tables import permuted

from spectral import algorithms, models, train_continual


KEY = jax.random.key(8)
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


def moved(model: Any, seed: int, scale: float = 1.0) -> Any:
    """The model with normal numbers in the place of its parameters."""
    rng = np.random.default_rng(seed)
    new = lambda x: jnp.asarray(scale * rng.normal(size=x.shape), x.dtype)
    return jax.tree.map(lambda x: new(x) if eqx.is_inexact_array(x) else x, model)


@eqx.filter_jit
def looked_at(network, still, moving, twice):
    """The outputs and taps of all, and J d by the Jacobian of the network."""
    run = lambda model: jax.vmap(model)(INPUTS)
    params, static = eqx.partition(network, eqx.is_inexact_array)
    jacobian = jax.jacrev(lambda p: run(eqx.combine(p, static))[0])(params)
    parts = zip(jax.tree.leaves(jacobian), arrays(moving), strict=True)
    change = sum(jnp.tensordot(j, d, axes=d.ndim) for j, d in parts)
    return *map(run, (network, still, moving, twice)), change


def test_a_linearised_network_is_its_first_order_expansion():
    network = mlp(KEY).model
    still = models.Linearised(network)
    # The parameters, which optimisers, penalties and noise see, are the displacement alone.
    assert [x.shape for x in arrays(still)] == [x.shape for x in arrays(network)]
    assert not any(np.asarray(x).any() for x in arrays(still))
    others = moved(still, 1), moved(still, 1, scale=2)
    (base, taps), first, moving, twice, change = looked_at(network, still, *others)
    np.testing.assert_array_equal(first[0], base)
    np.testing.assert_allclose(moving[0], base + change, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(twice[0], base + 2 * change, rtol=1e-4, atol=1e-5)
    assert np.abs(change).max() > 0.1
    for _, found in (first, moving, twice):
        assert found.keys() == taps.keys()
        assert all(np.array_equal(found[name], taps[name]) for name in taps)


def test_what_a_linearised_network_does_not_have():
    still = models.Linearised(mlp(KEY).model)
    assert still.units() == ()
    with pytest.raises(ValueError, match="No hidden units of this Linearised can be renewed"):
        algorithms.ReDo().init(learner_of(still), key=KEY)
    model, _ = drawn(eqx.nn.make_with_state(BatchNormNetwork), KEY)
    with pytest.raises(ValueError, match="`network` has running statistics.*linearise a network"):
        models.Linearised(model)


@pytest.mark.slow
def test_training_moves_the_displacement_alone():
    setting = permuted(num_tasks=1)
    model = models.Linearised(setting.model)
    learner, _ = train_continual(model, setting.stream, algorithms.snp_l2(0.05, noise=0.01))
    old, new = (jax.tree.leaves(m.base) for m in (model, learner.model))
    assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    assert all(np.asarray(x).any() for x in arrays(learner.model))
    again = model.fresh(key=KEY)
    assert jax.tree.structure(again) == jax.tree.structure(model)
    first, second = (np.asarray(m.base.layers[0].weight.bits) for m in (model, again))
    assert not np.array_equal(first, second)


def gates_of(model: models.FrozenGates) -> tuple[np.ndarray, np.ndarray]:
    bits = (model.gates.bits, model.head.bits)
    first, last = (np.asarray(b).view(np.float32) for b in bits)
    return first, last


def test_gates_do_not_switch():
    make = eqx.filter_jit(lambda key: models.FrozenGates(3, 2, width=4, key=key))
    run = eqx.filter_jit(lambda m: jax.vmap(m)(INPUTS))
    model, x = make(KEY), np.asarray(INPUTS)
    (first, last), [weight] = gates_of(model), arrays(model)
    np.testing.assert_array_equal(first, weight)
    outputs, taps = run(model)
    hidden = np.maximum(x @ first.T, 0)
    np.testing.assert_allclose(taps["hidden_0"], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs, hidden @ last.T, rtol=1e-5, atol=1e-6)
    # Other weights keep the gates, and the activations may be negative.
    other = moved(model, 1)
    np.testing.assert_array_equal(gates_of(other)[0], first)
    outputs, taps = run(other)
    hidden = (x @ first.T > 0) * (x @ np.asarray(other.weight).T)
    assert hidden.min() < -0.1
    np.testing.assert_allclose(taps["hidden_0"], hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs, hidden @ last.T, rtol=1e-5, atol=1e-6)
    again = make(jax.random.key(9))
    np.testing.assert_array_equal(gates_of(again)[0], again.weight)
    assert not np.array_equal(again.weight, model.weight)
    (group,) = models.unit_groups(model)
    assert (group.name, group.size, group.replaceable) == ("hidden_0", 4, False)
    with pytest.raises(ValueError, match=r"`x` has shape \(5,\), .* vectors of 3 numbers"):
        model(INPUTS[:, 0])


FRACTIONS = (0.0, 0.25, 1.0)


class Given(models.AbstractInitialiser):
    """The same weights for every key."""

    def __call__(self, key, shape):
        drawn = np.random.default_rng(0).normal(size=shape)
        return jnp.asarray(drawn, jnp.float32), jnp.ones(shape[0])


@pytest.mark.slow
def test_initial_weights_of_low_rank():
    mixtures = [models.RankOneMixture(fraction=a, initialiser=Given()) for a in FRACTIONS]
    low = [models.LowRank(rank=r, initialiser=Given()) for r in (2, 9)]
    draw = jax.jit(lambda key: [make(key, (8, 3, 2, 1)) for make in (Given(), *low, *mixtures)])
    full, low, wide, *mixtures = jax.tree.map(np.asarray, draw(KEY))
    u, s, v = np.linalg.svd(full[0].reshape(8, 6), full_matrices=False)
    expected = (u[:, :2] * s[:2]) @ v[:2]
    expected *= np.linalg.norm(full[0]) / np.linalg.norm(expected)
    np.testing.assert_allclose(low[0].reshape(8, 6), expected, atol=1e-5)
    np.testing.assert_allclose(wide[0], full[0], atol=1e-5)
    np.testing.assert_array_equal(low[1], full[1])
    # sqrt(1 - a) W + sqrt(a) ||W|| u v^T: what is left without W has one direction and its norm.
    for fraction, (mixed, bias) in zip(FRACTIONS, mixtures, strict=True):
        rest = (mixed - (1 - fraction) ** 0.5 * full[0]).reshape(8, 6)
        values = np.linalg.svd(rest, compute_uv=False)
        length = fraction**0.5 * np.linalg.norm(full[0])
        np.testing.assert_allclose(values, [length, 0, 0, 0, 0, 0], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(bias, full[1])
    for wrong, message in (
        (lambda: models.LowRank(rank=0), "`rank` is 0"),
        (lambda: models.RankOneMixture(fraction=1.5), "`fraction` is 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
