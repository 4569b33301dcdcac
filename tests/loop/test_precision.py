"""Weights in bfloat16 and float16, and in float32 where double is the default."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from signals import mlp
from tables import ALGORITHMS, incremental_resnet, KEY, permuted, split_convnet

from spectral import algorithms, models, Optimiser, train_tasks
from spectral.curvature import check_symmetric, Function
from spectral.models import feature_effective_rank, srank99


LOW = ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)]
# The type of the weights, and whether double is the default.
TYPES = [("bfloat16", False), ("float16", False), ("float32", True)]
STEPS = [pytest.param(*row, marks=[pytest.mark.slow] * (row[0] != "bfloat16")) for row in TYPES]


def cast(tree, dtype):
    change = lambda x: jnp.asarray(np.asarray(x), dtype) if eqx.is_inexact_array(x) else x
    return jax.tree.map(change, tree)


def types(tree):
    """The names of the floating-point types in a tree."""
    leaves = [x for x in jax.tree.leaves(tree) if hasattr(x, "dtype")]
    return {x.dtype.name for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)}


@pytest.mark.parametrize(("dtype", "x64"), STEPS)
def test_a_step_of_an_optimiser(dtype, x64):
    """It is that of float32, rounded once."""
    with jax.enable_x64(x64):
        low = cast(mlp(2, 2, width=3, depth=1), dtype)
        grads = jax.tree.map(lambda p: p / 3, eqx.filter(low, eqx.is_inexact_array))
        algo = lambda: Optimiser(optax.adam, learning_rate=0.01)

        def steps(model, grads):
            optimiser = algo().init(model)
            first, optimiser = optimiser.apply(grads, model)
            return first, optimiser.apply(grads, first)[1].state, optimiser.state

        after, *states = eqx.filter_jit(steps)(low, grads)
        assert types(after) == {dtype}
        assert types(states) == {"float32"}
        wide = cast((low, grads), jnp.float32)
        expected, _, state = eqx.filter_jit(steps)(*wide)
        jax.tree.map(np.testing.assert_array_equal, cast(expected, dtype), after)
        for a, b in zip(jax.tree.leaves(states[1]), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def traced(setting, algo, dtype):
    model = cast(setting.model, dtype)
    train = lambda model, state: train_tasks(
        model, setting.stream, algo, key=KEY, model_state=state
    )
    run, row = eqx.filter_eval_shape(train, model, setting.model_state)
    return types(run.learner.model), types(run.learner.model_state), types(row)


NORMED = ("layernorm_l2", "nap")
ROWS = [
    pytest.param(name, *rest, marks=[] if (name, rest[0]) == ("l2_er", "bfloat16") else SLOW)
    for SLOW in [pytest.mark.slow]
    for name in ALGORITHMS
    for rest in TYPES
]


@pytest.mark.parametrize(("name", "dtype", "x64"), ROWS)
def test_algorithms_keep_the_types_of_weights(name, dtype, x64):
    with jax.enable_x64(x64):
        needs = {"later": True} if name == "injected" else {"density": 0.5}
        setting = permuted({"layer_norm": True} if name in NORMED else needs)
        weights, _, row = traced(setting, ALGORITHMS[name](0.1), dtype)
    assert weights == {dtype}
    assert row <= {"float32", "float64"}


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "x64"), TYPES)
@pytest.mark.parametrize("make", [split_convnet, incremental_resnet])
def test_networks_keep_the_types_of_weights(make, dtype, x64):
    with jax.enable_x64(x64):
        weights, statistics, row = traced(make(), algorithms.bp(0.1), dtype)
    assert weights == {dtype}
    assert statistics <= {"float32"}
    assert row <= {"float32", "float64"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LOW)
def test_training_in_low_precision(dtype):
    """Close to that in float32: the weights are rounded in every step."""
    setting, algo = permuted(), algorithms.l2_er(0.03, er_period=4)
    losses = []
    for model in (setting.model, cast(setting.model, dtype)):
        run, row = eqx.filter_jit(train_tasks)(model, setting.stream, algo, key=KEY)
        assert np.isfinite(row["loss"]).all()
        losses.append(np.asarray(row["loss"]))
    assert types(run.learner.model) == {dtype}
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.1)


@pytest.mark.parametrize("dtype", LOW)
def test_ranks_of_features(dtype):
    features = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), dtype)
    wide = features.astype(jnp.float32)
    for rank in (feature_effective_rank, srank99):
        assert rank(features) == rank(wide)
    gradient = jax.eval_shape(jax.grad(feature_effective_rank), features)
    assert gradient.dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LOW)
def test_statistics_of_batches(dtype):
    """Sums in half precision would lose these digits."""
    norm, state = eqx.nn.make_with_state(models.BatchNorm)(1)
    x = jnp.asarray(100 + np.arange(8.0)[:, None], dtype)
    over = jax.vmap(cast(norm, dtype), axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    normalised, state = over(x, state)
    assert normalised.dtype == dtype
    mean, variance = state.get(norm.statistics)
    values = np.asarray(x, np.float32)
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_allclose(mean, 0.1 * values.mean(), rtol=1e-6)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * values.var(), rtol=1e-6)


@pytest.mark.slow
def test_the_tolerance_of_symmetry_is_that_of_the_vectors():
    """A product that rounds to bfloat16 is symmetric to its three digits."""
    half = np.random.default_rng(0).normal(size=(20, 20))
    matrix = jnp.asarray(half + half.T, jnp.bfloat16)
    product = lambda v: (matrix @ v).astype(jnp.bfloat16)
    wide = lambda v: product(v.astype(jnp.bfloat16)).astype(jnp.float32)
    check_symmetric(Function(product, jnp.zeros(20, jnp.bfloat16)), key=KEY)
    with pytest.raises(ValueError, match=r"at most 3.5e-04"):
        check_symmetric(Function(wide, jnp.zeros(20)), key=KEY)
