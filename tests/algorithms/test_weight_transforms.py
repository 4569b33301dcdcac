"""Shrink and perturb, reset, projection, hare and tortoise, and the noise they draw."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from growing_classes import BatchNormNetwork
from networks import resnet
from signals import arrays, clock_at, learner_of, signal_at

from spectral import algorithms, Learner, models
from spectral.algorithms import HareTortoise, NormalizeProject, Reset, ShrinkPerturb
from spectral.algorithms._base._fresh import fresh_parameters
from spectral.algorithms._base._noise import gaussian_like


@pytest.fixture
def model(getkey):
    model = models.MLP(3, 2, width=4, depth=2, key=getkey())
    return jax.tree.map(lambda x: x + 0.1 if eqx.is_array(x) else x, model)


def assert_close(tree, expected, *, rtol=1e-5, atol=1e-7):
    for a, b in zip(arrays(tree), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_noise_is_gaussian_and_independent():
    draw = jax.jit(lambda k: gaussian_like({"a": jnp.zeros(60_000), "b": jnp.zeros(1000)}, key=k))
    keys = jax.random.split(jax.random.key(0), 9)
    drawn = [np.asarray(draw(k)["a"], float) for k in keys]
    x = np.concatenate(drawn)
    error = x.size**-0.5
    assert abs(x.mean()) < 4 * error
    assert abs(x.var() - 1) < 4 * 2**0.5 * error
    assert abs(scipy.stats.skew(x)) < 4 * 6**0.5 * error
    assert abs(scipy.stats.kurtosis(x)) < 4 * 24**0.5 * error
    assert scipy.stats.kstest(x, "norm").statistic < 0.006
    for lag in (1, 2, 3, 7, 64, 256, 1000):
        assert abs(np.mean(x[lag:] * x[:-lag])) < 4.5 * error
    for a, b in zip(drawn[1:], drawn[:-1], strict=True):
        assert abs(np.mean(a * b)) < 4.5 * a.size**-0.5
    one = draw(keys[0])
    assert abs(np.mean(np.asarray(one["a"][:1000]) * np.asarray(one["b"]))) < 4.5 * 1000**-0.5
    together = jax.vmap(draw)(keys[:2])["a"]
    np.testing.assert_allclose(together[1], drawn[1], rtol=1e-6)


def test_noise_has_the_types_of_the_weights(float64):
    drawn = gaussian_like((jnp.zeros(2), jnp.zeros((2, 1), jnp.float32)), key=jax.random.key(0))
    assert [d.dtype for d in drawn] == [jnp.float64, jnp.float32]


def test_shrink_and_perturb_step(model, getkey):
    learner, signal = learner_of(model), signal_at(model, jnp.ones((1, 1, 3)))
    key = getkey()
    noise_key, fresh_key = jax.random.split(key)
    theta = [np.asarray(p) for p in arrays(model)]
    params = eqx.filter(model, eqx.is_inexact_array)
    xi = [np.asarray(x) for x in jax.tree.leaves(gaussian_like(params, key=noise_key))]
    fresh = [np.asarray(p) for p in arrays(model.fresh(key=fresh_key))]
    first = [p + 1 for p in theta]
    cases = [
        (ShrinkPerturb(shrink=0.9), [0.9 * p for p in theta]),
        (ShrinkPerturb(noise=0.2), [p + 0.2 * x for p, x in zip(theta, xi, strict=True)]),
        (
            ShrinkPerturb(shrink=0.9, target="fresh", amount=0.3),
            [0.9 * p + 0.3 * f for p, f in zip(theta, fresh, strict=True)],
        ),
        (
            ShrinkPerturb(shrink=0.9, target="initial", amount=0.1, noise=0.2),
            [0.9 * p + 0.1 * f + 0.2 * x for p, f, x in zip(theta, first, xi, strict=True)],
        ),
        # Three steps at once: 0.9^3, the sum and the root of the sum of squares of its powers.
        (
            ShrinkPerturb(shrink=0.9, target="initial", amount=0.1, noise=0.2, steps=3),
            [
                0.729 * p + 0.271 * f + 0.2 * (1 + 0.81 + 0.6561) ** 0.5 * x
                for p, f, x in zip(theta, first, xi, strict=True)
            ],
        ),
    ]
    begun = learner_of(jax.tree.map(lambda x: x + 1 if eqx.is_array(x) else x, model))
    for transform, expected in cases:
        state = transform.init(begun, key=getkey())
        after, _ = transform.update(learner, state, signal, key=key)
        assert_close(after.model, expected)
        still, _ = transform.begin_task(learner, state, clock_at(0, task=1), key=key)
        assert_close(still.model, theta)


def test_noise_of_n_steps_at_once_has_the_same_variance(getkey):
    model = models.MLP(200, 1, width=100, depth=1, key=getkey())
    zero = jax.tree.map(lambda x: 0 * x if eqx.is_array(x) else x, model)
    learner, signal = learner_of(zero), signal_at(zero, jnp.ones((1, 1, 200)))
    single, many = (
        ShrinkPerturb(shrink=0.8, noise=1.0),
        ShrinkPerturb(shrink=0.8, noise=1.0, steps=5),
    )
    step = eqx.filter_jit(lambda learner, key: single.update(learner, None, signal, key=key)[0])
    for _ in range(5):
        learner = step(learner, getkey())
    at_once, _ = many.update(learner_of(zero), None, signal, key=getkey())
    variances = [np.var(m.model.layers[0].weight) for m in (learner, at_once)]
    np.testing.assert_allclose(variances, (1 - 0.8**10) / (1 - 0.8**2), rtol=0.04)


def test_warm_start_of_a_task(model, getkey):
    transform = ShrinkPerturb(shrink=0.6, target="fresh", amount=0.1, at="task")
    learner, key = learner_of(model), getkey()
    first, _ = transform.begin_task(learner, None, clock_at(0), key=key)
    assert_close(first.model, arrays(model), rtol=0, atol=0)
    later, _ = transform.begin_task(learner, None, clock_at(9, task=1), key=key)
    fresh = arrays(model.fresh(key=jax.random.split(key)[1]))
    expected = [0.6 * p + 0.1 * f for p, f in zip(arrays(model), fresh, strict=True)]
    assert_close(later.model, expected)
    signal = signal_at(model, jnp.ones((1, 1, 3)))
    assert_close(transform.update(learner, None, signal, key=key)[0].model, arrays(model), rtol=0)


def trained(model, model_state=None):
    learner = learner_of(model, algorithms.adam(0.1), model_state)
    grads = jax.tree.map(jnp.ones_like, eqx.filter(model, eqx.is_inexact_array))
    model, optimiser = learner.optimiser.apply(grads, model)
    return Learner(model, model_state, optimiser)


def test_reset_of_the_network(getkey):
    """Weights, running statistics and optimiser begin anew, but not at the first task."""
    model, model_state = eqx.nn.make_with_state(BatchNormNetwork)(key=getkey())
    transform = Reset()
    state = transform.init(learner_of(model, model_state=model_state), key=getkey())
    index: Any = model.norm.statistics
    ones: Any = tuple(jnp.ones_like(x) for x in model_state.get(index))
    learner, key = trained(model, model_state.set(index, ones)), getkey()
    begin = eqx.filter_jit(transform.begin_task)
    first, _ = begin(learner, state, clock_at(0), key=key)
    for a, b in zip(arrays(first), arrays(learner), strict=True):
        np.testing.assert_array_equal(a, b)
    later: Any = begin(learner, state, clock_at(9, task=1), key=key)[0]
    assert_close(later.model, jax.tree.leaves(fresh_parameters(model, key=key)), rtol=0)
    assert float(jnp.abs(later.model_state.get(index)[0]).max()) == 0
    beginning = learner.optimiser.init(later.model)
    for a, b in zip(arrays(later.optimiser), arrays(beginning), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("to", ["fresh", "zero"])
@pytest.mark.parametrize("activation", ["relu", models.Rational()])
def test_reset_of_the_head(to, activation, getkey):
    """Learnt activations are part of the hidden layers."""
    model = models.MLP(3, 2, width=4, depth=2, activation=activation, key=getkey())
    transform, key = Reset(part="head", to=to), getkey()
    learner = trained(model)
    after, _ = transform.begin_task(learner, [], clock_at(9, task=1), key=key)
    for layer in range(2):
        assert_close(after.model.layers[layer], arrays(learner.model.layers[layer]), rtol=0)
        kept = after.optimiser.state.mean.layers[layer].weight
        assert np.all(np.asarray(kept) != 0)
    assert_close(after.model.activations, arrays(learner.model.activations), rtol=0)
    fresh = arrays(model.fresh(key=key).layers[2])
    assert_close(after.model.layers[2], [f * (to == "fresh") for f in fresh], rtol=0)
    assert not np.any(after.optimiser.state.mean.layers[2].weight)
    assert np.all(np.asarray(after.optimiser.state.mean_bias.layers[2].bias) == 1)


def test_projection_gives_the_norms_back(model, getkey):
    transform = NormalizeProject()
    norms = transform.init(learner_of(model), key=getkey())
    grown = jax.tree.map(lambda x: 3 * x + 0.01 if eqx.is_array(x) else x, model)
    signal = signal_at(model, jnp.ones((1, 1, 3)))
    after, _ = transform.update(learner_of(grown), norms, signal, key=getkey())
    for i, (old, big, new) in enumerate(
        zip(model.layers, grown.layers, after.model.layers, strict=True)
    ):
        factor = np.linalg.norm(old.weight) / np.linalg.norm(big.weight)
        np.testing.assert_allclose(new.weight, factor * np.asarray(big.weight), rtol=1e-5)
        np.testing.assert_allclose(
            new.bias, (factor if i < 2 else 1) * np.asarray(big.bias), rtol=1e-5
        )
    zero = jax.tree.map(lambda x: 0 * x if eqx.is_array(x) else x, model)
    still, _ = transform.update(learner_of(zero), norms, signal, key=getkey())
    assert not any(np.any(p) for p in arrays(still.model))


def test_projection_of_a_residual_network(getkey):
    """Both matrices that lead to a sum keep their norms, and both norm layers their joint ones."""
    network = resnet(getkey())
    transform = NormalizeProject()
    state = transform.init(learner_of(network.model), key=getkey())
    params, static = eqx.partition(network.model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)
    grown = jax.tree.unflatten(structure, [(2 + i) * x + 0.01 for i, x in enumerate(leaves)])
    learner = learner_of(eqx.combine(grown, static))
    signal = signal_at(models.MLP(1, 1, depth=0, key=getkey()), jnp.ones((1, 1, 1)))
    after, _ = eqx.filter_jit(transform.update)(learner, state, signal, key=getkey())
    for leaf, new in zip(leaves, arrays(after.model), strict=True):
        if leaf.ndim > 1:
            np.testing.assert_allclose(jnp.linalg.norm(new), jnp.linalg.norm(leaf), rtol=1e-5)
    norms = lambda m: [n for n in jax.tree.leaves(m, is_leaf=is_norm) if is_norm(n)]
    joint = lambda n: jnp.sqrt(jnp.sum(n.weight**2) + jnp.sum(n.bias**2))
    assert len(norms(network.model)) == 6
    for old, new in zip(norms(network.model), norms(after.model), strict=True):
        np.testing.assert_allclose(joint(new), joint(old), rtol=1e-5)
    # A bias is scaled with its own matrix.
    old, big, new = (m.stages[1][0].skip for m in (network.model, learner.model, after.model))
    factor = jnp.linalg.norm(old.weight) / jnp.linalg.norm(big.weight)
    np.testing.assert_allclose(new.bias, factor * big.bias, rtol=1e-5)


def is_norm(node):
    return isinstance(node, models.BatchNorm)


def test_hare_and_tortoise(model, getkey):
    transform = HareTortoise(decay=0.75, period=3)
    signals = [signal_at(model, jnp.ones((6, 1, 3)), t) for t in range(6)]
    slow = transform.init(learner_of(model), key=getkey())
    fast = expected_slow = [np.asarray(p) for p in arrays(model)]
    learner = learner_of(model)
    update = eqx.filter_jit(transform.update)
    for t in range(6):
        moved = jax.tree.map(lambda x: 1.1 * x + 0.3 if eqx.is_array(x) else x, learner.model)
        fast = [1.1 * p + 0.3 for p in fast]
        expected_slow = [0.75 * s + 0.25 * f for s, f in zip(expected_slow, fast, strict=True)]
        if t % 3 == 2:
            fast = expected_slow
        learner, slow = update(
            Learner(moved, None, learner.optimiser), slow, signals[t], key=getkey()
        )
        assert_close(slow, expected_slow, rtol=1e-4)
        assert_close(learner.model, fast, rtol=1e-4)
    with pytest.raises(ValueError, match="A period of 4 steps does not fit a chunk of 6"):
        HareTortoise(decay=0.75, period=4).update(learner, slow, signals[0], key=getkey())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShrinkPerturb(shrink=-1.0), "`shrink` is -1.0"),
        (lambda: ShrinkPerturb(noise=-1.0), "`noise` is -1.0"),
        (lambda: ShrinkPerturb(steps=0), "`steps` is 0"),
        (lambda: ShrinkPerturb(target="fresh"), "`target` is 'fresh' and `amount` is None"),
        (lambda: ShrinkPerturb(amount=0.1), "`target` is None and `amount` is 0.1"),
        (lambda: ShrinkPerturb(target="fresh", amount=-0.1), "`amount` is -0.1"),
        (lambda: Reset(to="zero"), "a network of zeros cannot learn"),
        (lambda: HareTortoise(decay=1.5, period=2), "`decay` is 1.5, but must lie between 0 and 1"),
        (lambda: HareTortoise(period=0), "`period` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
