"""Shrink and perturb, reset, projection, hare and tortoise, and the noise that they draw."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from growing_classes import BatchNormNetwork
from networks import resnet
from signals import (
    after_step,
    arrays,
    drawn,
    learner_of,
    mlp,
    numpy_map,
    signal_at,
    start_of,
    trained,
)

from spectral import algorithms, Learner, models
from spectral.algorithms import HareTortoise, NormalizeProject, Reset, ShrinkPerturb
from spectral.algorithms._base._fresh import fresh_parameters
from spectral.algorithms._base._noise import gaussian_like


KEY = jax.random.key(0)
INPUTS = np.ones((6, 1, 3), np.float32)


@pytest.fixture
def model():
    return mlp(3, 2, width=4, depth=1)


def assert_close(tree, expected, *, rtol=1e-5, atol=1e-7):
    for a, b in zip(arrays(tree), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_noise_is_gaussian_and_independent():
    draw = jax.jit(lambda k: gaussian_like({"a": jnp.zeros(60_000), "b": jnp.zeros(1000)}, key=k))
    keys = jax.random.split(KEY, 9)
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
    weights = jnp.zeros(2), jnp.zeros((2, 1), jnp.float32)
    drawn = jax.eval_shape(lambda key: gaussian_like(weights, key=key), KEY)
    assert [(d.shape, d.dtype) for d in drawn] == [(w.shape, w.dtype) for w in weights]


def test_shrink_and_perturb(model):
    """At every step, several steps at once, and at the start of each task except the first."""
    step = ShrinkPerturb(shrink=0.9, target="fresh", amount=0.3)
    steps = ShrinkPerturb(shrink=0.9, target="initial", amount=0.1, noise=0.2, steps=3)
    task = ShrinkPerturb(shrink=0.6, target="fresh", amount=0.1, at="task")
    learner, start = learner_of(model), learner_of(numpy_map(lambda x: x + 1, model))
    signal = signal_at(model, INPUTS, taps={})

    @eqx.filter_jit
    def changed(learner, initial):
        """With the random numbers that they use: in one program these are computed once."""
        noise_key, fresh_key = jax.random.split(KEY)
        noise = gaussian_like(arrays(learner.model), key=noise_key)
        update = lambda transform, state: transform.update(learner, state, signal, key=KEY)[0]
        begin = lambda task_: task.begin_task(learner, None, start_of(task_), key=KEY)[0]
        learners = update(step, None), update(steps, initial), begin(0), begin(1)
        return *(arrays(x.model) for x in learners), noise, arrays(model.fresh(key=fresh_key))

    found = changed(learner, steps.init(start, key=KEY))
    after_step, after_steps, first, later, xi, fresh = (list(map(np.asarray, x)) for x in found)
    theta = [np.asarray(p) for p in arrays(model)]
    assert_close(after_step, [0.9 * p + 0.3 * f for p, f in zip(theta, fresh, strict=True)])
    # 0.9^3, the sum of its powers, and the root of the sum of their squares.
    deviation = 0.2 * (1 + 0.81 + 0.6561) ** 0.5
    draws = zip(theta, xi, strict=True)
    assert_close(after_steps, [0.729 * p + 0.271 * (p + 1) + deviation * x for p, x in draws])
    assert_close(first, theta, rtol=0, atol=0)
    assert_close(later, [0.6 * p + 0.1 * f for p, f in zip(theta, fresh, strict=True)])
    assert task.update(learner, None, signal, key=KEY)[0] is learner
    assert step.begin_task(learner, None, start_of(1), key=KEY)[0] is learner


def test_noise_of_n_steps_at_once_has_the_same_variance():
    single, at_once = (ShrinkPerturb(shrink=0.8, noise=1.0, steps=n) for n in (1, 5))
    learner = learner_of(jnp.zeros(20_000))
    one_by_one = learner
    for key in jax.random.split(KEY, 5):
        one_by_one, _ = after_step(single, one_by_one, INPUTS, taps={}, key=key)
    together, _ = after_step(at_once, learner, INPUTS, taps={}, key=KEY)
    variances = [np.var(x.model) for x in (one_by_one, together)]
    np.testing.assert_allclose(variances, (1 - 0.8**10) / (1 - 0.8**2), rtol=0.04)


def test_reset_of_the_network():
    """Weights, running statistics and optimiser start again, but not at the first task."""
    model, model_state = drawn(eqx.nn.make_with_state(BatchNormNetwork))
    index = model.norm.statistics
    initial = model_state.get(index)
    state = Reset().init(learner_of(model, model_state=model_state), key=KEY)
    ones = tuple(jnp.ones(5, jnp.float32) for _ in range(2))
    learner = trained(learner_of(model, algorithms.adam(0.1), model_state.set(index, ones)))

    @eqx.filter_jit
    def begun(learner):
        begin = lambda task: Reset().begin_task(learner, state, start_of(task), key=KEY)[0]
        return begin(0), begin(1), fresh_parameters(learner.model, key=KEY)

    later: Any
    first, later, fresh = begun(learner)
    for a, b in zip(arrays(first), arrays(learner), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = [fresh, learner_of(fresh, algorithms.adam(0.1)).optimiser]
    for a, b in zip(arrays([later.model, later.optimiser]), arrays(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(later.model_state.get(index), initial, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("to", "activation"), [("fresh", models.Rational()), ("zero", "relu")])
def test_reset_of_the_head(to, activation):
    """Learnt activations are part of the hidden layers."""
    model = mlp(3, 2, width=4, depth=1, activation=activation)
    learner, transform = trained(learner_of(model, algorithms.adam(0.1))), Reset(part="head", to=to)

    @eqx.filter_jit
    def begun(learner):
        after = transform.begin_task(learner, [], start_of(1, step=9), key=KEY)[0]
        return after, model.fresh(key=KEY).layers[1]

    after, fresh = begun(learner)
    assert_close(after.model.layers[0], arrays(model.layers[0]), rtol=0, atol=0)
    assert np.all(np.asarray(after.optimiser.state.mean.layers[0].weight) != 0)
    assert_close(after.model.activations, arrays(model.activations), rtol=0, atol=0)
    expected = [np.asarray(f) * (to == "fresh") for f in arrays(fresh)]
    assert_close(after.model.layers[1], expected, rtol=0, atol=0)
    assert not np.any(after.optimiser.state.mean.layers[1].weight)
    assert np.all(np.asarray(after.optimiser.state.mean_bias.layers[1].bias) == 1)


def test_projection_restores_the_norms(model):
    transform = NormalizeProject()
    norms = eqx.filter_jit(transform.init)(learner_of(model), key=KEY)
    grown = numpy_map(lambda x: 3 * x + 0.01, model)
    after, _ = after_step(transform, learner_of(grown), INPUTS, state=norms, key=KEY)
    layers = zip(model.layers, grown.layers, after.model.layers, strict=True)
    for i, (old, big, new) in enumerate(layers):
        factor = np.linalg.norm(old.weight) / np.linalg.norm(big.weight)
        np.testing.assert_allclose(new.weight, factor * np.asarray(big.weight), rtol=1e-5)
        bias = (factor if i == 0 else 1) * np.asarray(big.bias)
        np.testing.assert_allclose(new.bias, bias, rtol=1e-5)
    # Squares of such weights are zero or infinite in float32.
    for scale in (1e-25, 1e25):
        far = learner_of(numpy_map(lambda x, s=scale: (s * x).astype(np.float32), grown))
        back, _ = after_step(transform, far, INPUTS, state=norms, key=KEY)
        for new, expected in zip(back.model.layers, after.model.layers, strict=True):
            np.testing.assert_allclose(new.weight, expected.weight, rtol=1e-5)
    zero = learner_of(numpy_map(lambda x: 0 * x, model))
    same, _ = after_step(transform, zero, INPUTS, state=norms, key=KEY)
    assert not any(np.any(p) for p in arrays(same.model))


def test_projection_of_a_residual_network():
    """Both matrices that lead to a sum keep their norms, and both norm layers their joint norms."""
    model = numpy_map(lambda x: x + 0.1, resnet(KEY).model)
    leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_inexact_array))
    grown = [jnp.asarray((2 + i) * np.asarray(x) + 0.01) for i, x in enumerate(leaves)]
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    learner = learner_of(eqx.combine(jax.tree.unflatten(structure, grown), static))
    transform = NormalizeProject()

    @eqx.filter_jit
    def projected(model, learner):
        norms = transform.init(learner_of(model), key=KEY)
        signal = signal_at(learner.model, INPUTS, taps={})
        return transform.update(learner, norms, signal, key=KEY)[0]

    after = projected(model, learner)
    for leaf, new in zip(leaves, arrays(after.model), strict=True):
        if leaf.ndim > 1:
            np.testing.assert_allclose(norm(new), norm(leaf), rtol=1e-5)
    found = lambda m: [n for n in jax.tree.leaves(m, is_leaf=is_norm) if is_norm(n)]
    assert len(found(model)) == 6
    for old, new in zip(found(model), found(after.model), strict=True):
        joint = [np.hypot(norm(n.weight), norm(n.bias)) for n in (old, new)]
        np.testing.assert_allclose(joint[1], joint[0], rtol=1e-5)
    # A bias is scaled with its own matrix.
    old, big, new = (m.stages[1][0].skip for m in (model, learner.model, after.model))
    factor = norm(old.weight) / norm(big.weight)
    np.testing.assert_allclose(new.bias, factor * np.asarray(big.bias), rtol=1e-5)


def norm(array):
    return np.linalg.norm(np.ravel(array))


def is_norm(node):
    return isinstance(node, models.BatchNorm)


def test_hare_and_tortoise(model):
    transform, learner = HareTortoise(decay=0.75, period=3), learner_of(model)
    fast = expected_slow = [np.asarray(p) for p in arrays(model)]
    slow = transform.init(learner, key=KEY)
    for t in range(6):
        moved = numpy_map(lambda x: 1.1 * x + 0.3, learner.model)
        fast = [1.1 * p + 0.3 for p in fast]
        expected_slow = [0.75 * s + 0.25 * f for s, f in zip(expected_slow, fast, strict=True)]
        if t % 3 == 2:
            fast = expected_slow
        moved = Learner(moved, None, learner.optimiser)
        learner, slow = after_step(transform, moved, INPUTS, t, state=slow, key=KEY)
        assert_close(slow, expected_slow, rtol=1e-4)
        assert_close(learner.model, fast, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShrinkPerturb(shrink=-1.0), "`shrink` is -1.0"),
        (lambda: ShrinkPerturb(noise=-1.0), "`noise` is -1.0"),
        (lambda: ShrinkPerturb(steps=0), "`steps` is 0"),
        (lambda: ShrinkPerturb(target="fresh"), "`target` is 'fresh' and `amount` is None"),
        (lambda: ShrinkPerturb(amount=0.1), "`target` is None and `amount` is 0.1"),
        (lambda: ShrinkPerturb(target="fresh", amount=-0.1), "`amount` is -0.1"),
        (lambda: Reset(to="zero"), "`to` is 'zero', but a network of zeros cannot learn"),
        (lambda: HareTortoise(decay=1.5, period=2), "`decay` is 1.5, but must lie between 0 and 1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
