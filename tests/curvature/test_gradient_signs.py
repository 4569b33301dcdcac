"""Signs from the gradients of single examples: by hand, and against dense matrices."""

import dataclasses
import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import mlp, over_examples
from jax.flatten_util import ravel_pytree

from spectral.curvature import (
    closed_risk,
    empirical_fisher_rank,
    example_gradients,
    gradient_collinearity,
    gradient_moments,
    gradient_noise_scale,
    gradient_products,
    gradient_to_parameter_ratio,
    GradientMoments,
    GradientProducts,
    layer_moments,
    local_redundancy,
    moments_of_minibatches,
    neural_tangent_spectrum,
    noise_bound,
    noisy_one_step_gain,
    one_step_gain,
    optimisation_readiness,
    Risk,
    Sampled,
    SoftmaxCrossEntropy,
    spectral_energy_rank,
    SquaredError,
    volatility,
)
from spectral.curvature.spectra._spectrum import known_spectrum


def moments(norm, deviation, num_examples=2):
    return GradientMoments(jnp.asarray(norm), jnp.asarray(deviation), num_examples)


def bowl(theta):
    return jnp.sum(jnp.array([4.0, 1.0]) * theta**2) / 2


def square_of_product(theta):
    return (theta[0] * theta[1]) ** 2 / 2


ROWS = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
PAIRS = np.array(
    [
        [[1, 0], [1, 1]],
        [[1, 1], [1, -1]],
        [[0.5, 2], [0.5, -2]],  # the one before, with a unit scaled by 2
        [[1e-4, 0], [1e-4, 0]],
        [[1e-30, 0], [1e-30, 1e-30]],
        [[0, 0], [1, 1]],
    ],
    np.float32,
)
COSINES = np.array([0.5**0.5, 0, -3.75 / 4.25, 1, 0.5**0.5, np.nan])


@eqx.filter_jit
def _by_hand(rows, pairs):
    own, tiny = gradient_moments(rows), gradient_moments(1e-30 * rows)
    flat, spread = moments(0.0, 1.0), gradient_moments(jnp.tile(rows[:1], (2, 1)))
    ready = lambda m, loss, size, **options: optimisation_readiness(
        m, loss, minibatch_size=size, **options
    )
    along = one_step_gain(closed_risk(lambda p: p, bowl), jnp.ones(2))
    saddle = one_step_gain(closed_risk(lambda p: p, lambda z: -bowl(z)), jnp.ones(2))
    ratio = gradient_to_parameter_ratio(
        {"w": rows[0], "zero": rows[0]}, {"w": jnp.array([3.0, 4.0]), "zero": jnp.zeros(2)}
    )
    return {
        "norm": own.norm**2,
        "variance": own.deviation**2,
        "unbiased_norm": own.unbiased_squared_norm,
        "unbiased_variance": own.unbiased_variance,
        "noise_scale": gradient_noise_scale(own),
        "unbiased_noise_scale": gradient_noise_scale(own, unbiased=True),
        "noise_scale_of_tiny": gradient_noise_scale(tiny),
        "noise_scale_without_a_mean": gradient_noise_scale(flat),
        "noise_scale_of_equals": gradient_noise_scale(spread, unbiased=True),
        "from_minibatches": jnp.stack(moments_of_minibatches(4.0, 3.0, small_size=1, large_size=2)),
        "ready_1": ready(own, 1.0, 1).value,
        "reliability_1": ready(own, 1.0, 1).reliability,
        "ready_2": ready(own, 1.0, 2).value,
        "ready_whole": ready(own, 1.0, 2, replacement=False).value,
        "strength": ready(own, 2.0, 1).strength,
        "ready_without_a_mean": ready(flat, 1.0, 1).value,
        "ready_without_gradients": ready(moments(0.0, 0.0), 1.0, 1).reliability,
        "ready_without_loss": ready(own, 0.0, 1).value,
        "noise_bound": noise_bound(own, minibatch_size=4),
        "noise_bound_of_half": noise_bound(own, minibatch_size=4, safety=0.5),
        "sharpness": along.sharpness,
        "gain": along.gain,
        "saddle": jnp.stack([saddle.sharpness, saddle.gain]),
        "ratio": jnp.stack([ratio.total, ratio.by_tensor["w"], ratio.by_tensor["zero"]]),
        "volatility": volatility(jnp.array([[1.0, 3.0], [2.0, 2.0]])),
        "cosines": jax.lax.map(lambda p: gradient_collinearity(gradient_products(p)), pairs),
        "fisher": empirical_fisher_rank(gradient_products({"w": rows[:, None], "b": rows})),
        "energy": spectral_energy_rank(
            known_spectrum(jnp.array([0.0, 1.0, 4.0]), jnp.array([0.5, 0.25, 0.25]), 4)
        ),
    }


BY_HAND = {
    "norm": 2,
    "variance": 2,
    "unbiased_norm": 0,
    "unbiased_variance": 4,
    "noise_scale": 1,
    "unbiased_noise_scale": np.nan,
    "noise_scale_of_tiny": 1,
    "noise_scale_without_a_mean": np.inf,
    "noise_scale_of_equals": 0,
    "from_minibatches": [2, 2],
    "ready_1": 1,
    "reliability_1": 0.5,
    "ready_2": 4 / 3,
    "ready_whole": 2,
    "strength": 1,
    "ready_without_a_mean": 0,
    "ready_without_gradients": 0,
    "ready_without_loss": 0,
    "noise_bound": 4,
    "noise_bound_of_half": 2,
    "sharpness": 65 / 17,
    "gain": 289 / 130,
    "saddle": [-65 / 17, np.nan],
    "ratio": [8**0.5 / 5, 0.4, np.nan],
    "volatility": [0.5, 0],
    "energy": 2,
}


def test_by_hand():
    found = jax.tree.map(np.asarray, _by_hand(ROWS, PAIRS))
    for name, expected in BY_HAND.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    cosines, fisher = found["cosines"], found["fisher"]
    np.testing.assert_allclose(cosines.mean_cosine, COSINES, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cosines.mean_absolute_cosine, np.abs(COSINES), rtol=1e-5, atol=1e-6)
    p = (1 + np.stack([COSINES, -COSINES])) / 2
    ranks = np.exp(-np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=0))
    np.testing.assert_allclose(cosines.rank[:5], ranks[:5], rtol=1e-4)
    assert np.isnan(cosines.rank[5])
    assert set(fisher.by_tensor) == {"w"}  # not the bias
    assert fisher.joint == fisher.by_tensor["w"] == 2


def kernel_forward(w, inputs):
    return w[1] * jax.nn.relu(w[0] * inputs)


def rescaled(theta):
    """Squared norm, sharpness, gain / L and readiness without noise of a function that does not
    depend on how a unit is scaled."""
    found = one_step_gain(closed_risk(lambda p: p, square_of_product), theta)
    ready = optimisation_readiness(moments(found.norm, 0.0), found.loss, minibatch_size=1)
    return found.norm**2, found.sharpness, found.gain / found.loss, ready.value


def bias_forward(bias, inputs):
    return jnp.zeros((inputs.shape[0], 2)) + bias[None]


def linear_forward(w, inputs):
    return inputs @ w


@eqx.filter_jit
def _kernels(inputs, near):
    risk = Risk(kernel_forward, SquaredError(), inputs, inputs)
    eigenvalues = lambda w: 2 * neural_tangent_spectrum(risk, w).nodes[0]
    linear = Risk(linear_forward, SquaredError(), near, near[:, :1])
    lone = Risk(linear_forward, SquaredError(), inputs[1:], inputs[1:])
    coin = Risk(bias_forward, SoftmaxCrossEntropy(), inputs, jnp.zeros(2, int))
    scaled = jnp.array([2.0, 0.5])
    return {
        "even": eigenvalues(jnp.ones(2)),
        "scaled": eigenvalues(scaled),
        "near": neural_tangent_spectrum(linear, jnp.ones((2, 1))).nodes[0],
        "redundancy": local_redundancy(lone, jnp.ones((1, 1))),
        "even_classes": local_redundancy(coin, jnp.zeros(2)),
        "rescaled": jnp.stack([jnp.stack(rescaled(w)) for w in (jnp.ones(2), scaled)]),
    }


@pytest.mark.slow
def test_kernels_by_hand():
    near = np.array([[1.0, 0.0], [1.0, 1e-5]], np.float32)
    found = _kernels(jnp.array([[1.0], [2.0]]), jnp.asarray(near))
    np.testing.assert_allclose(found["even"], [0, 10], atol=1e-5)
    np.testing.assert_allclose(found["scaled"], [0, 21.25], atol=1e-5)
    # In float32 the kernel of these two inputs is singular.
    squares = np.linalg.svd(near.astype(np.float64), compute_uv=False)[::-1] ** 2
    np.testing.assert_allclose(found["near"], squares / 2, rtol=1e-4)
    np.testing.assert_allclose(found["redundancy"], 4)
    np.testing.assert_allclose(found["even_classes"], 0.5, rtol=1e-6)
    expected = [[2, 3, 2 / 3, 4], [4.25, 4.721, 0.900, 8.5]]
    np.testing.assert_allclose(found["rescaled"], expected, rtol=5e-4)


@eqx.filter_jit
def _program(risk, case):
    flat, outputs = case.flat()
    _, unravel = ravel_pytree(eqx.filter(case.model, eqx.is_inexact_array))
    constants = eqx.filter(case.model, eqx.is_inexact_array, inverse=True)
    loss = lambda p: risk(eqx.combine(unravel(p), constants))
    gradients = example_gradients(risk, case.model)
    products = gradient_products(gradients)
    half = Risk(risk.forward, SquaredError(scale=0.125), risk.inputs, outputs(flat))
    sampled = jax.lax.map(
        lambda key: local_redundancy(half, case.model, factor=Sampled(key)),
        jax.random.split(jax.random.key(3), 300),
    )
    options = {"minibatch_size": 2, "key": jax.random.key(1)}
    every = {"all": gradient_moments(gradients)} | layer_moments(gradients)
    return {
        "outputs": outputs(flat),
        "jacobian": jax.jacfwd(outputs)(flat),
        "hessian": jax.hessian(loss)(flat),
        "loss": loss(flat),
        "gradients": jax.vmap(lambda g: ravel_pytree(g)[0])(gradients),
        "moments": {
            name: (own.norm, own.deviation, own.unbiased_squared_norm, own.unbiased_variance)
            for name, own in every.items()
        },
        "products": (products.norms, products.cosines),
        "collinearity": gradient_collinearity(products),
        "fisher": empirical_fisher_rank(products),
        "noisy": noisy_one_step_gain(risk, case.model, num_samples=7, **options),
        "few": noisy_one_step_gain(risk, case.model, num_samples=3, **options),
        "redundancy": local_redundancy(risk, case.model),
        "regression": local_redundancy(half, case.model),
        "sampled": sampled,
        "kernel": neural_tangent_spectrum(risk, case.model, all_outputs=True).nodes[0],
        "summed": neural_tangent_spectrum(risk, case.model).nodes[0],
    }


@functools.cache
def dense():
    with jax.enable_x64(True):
        case = mlp()
        labels = jnp.asarray([0, 1, 2, 2, 1, 0, 1])
        risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels, batch_size=3)
        return jax.tree.map(np.asarray, _program(risk, case))


@pytest.mark.slow
def test_moments_against_numpy():
    found = dense()
    rows = found["gradients"]
    parts = {"all": rows, "layers.0": rows[:, :9], "layers.1": rows[:, 9:]}
    assert set(found["moments"]) == set(parts)
    for name, part in parts.items():
        mean, pairs = part.mean(axis=0), part @ part.T
        variance = np.mean(np.sum((part - mean) ** 2, axis=1))
        statistic = (pairs.sum() - np.trace(pairs)) / 42
        expected = (np.linalg.norm(mean), variance**0.5, statistic, variance * 7 / 6)
        np.testing.assert_allclose(found["moments"][name], expected, rtol=1e-10)


@pytest.mark.slow
def test_ranks_and_cosines_against_numpy():
    found = dense()
    rows = found["gradients"]
    lengths = np.linalg.norm(rows, axis=1)
    cosines = rows @ rows.T / np.outer(lengths, lengths)
    norms, own = found["products"]
    np.testing.assert_allclose(norms, lengths, rtol=1e-10)
    np.testing.assert_allclose(own, cosines, rtol=1e-8, atol=1e-12)
    others = cosines[~np.eye(7, dtype=bool)]
    collinearity = found["collinearity"]
    np.testing.assert_allclose(collinearity.mean_cosine, others.mean(), rtol=1e-8)
    np.testing.assert_allclose(collinearity.mean_absolute_cosine, np.abs(others).mean(), rtol=1e-8)
    p = np.maximum(np.linalg.eigvalsh(cosines / 7), 1e-300)
    np.testing.assert_allclose(collinearity.rank, np.exp(-np.sum(p * np.log(p))), rtol=1e-8)

    def rank(part):
        energies = np.linalg.svd(part, compute_uv=False) ** 2
        return 1 + np.sum(np.cumsum(energies) < 0.99 * energies.sum())

    # The weights of 2 x 3 and 3 x 3 numbers; biases lie after them.
    first, second = rows[:, :6], rows[:, 9:18]
    fisher = found["fisher"]
    assert fisher.by_tensor == {"layers.0.weight": rank(first), "layers.1.weight": rank(second)}
    assert fisher.joint == rank(np.hstack([first, second]))
    assert 1 < fisher.joint < 7


@pytest.mark.slow
def test_gains_against_the_dense_hessian():
    found = dense()
    rows, hessian = found["gradients"], found["hessian"]
    mean = rows.mean(axis=0)
    square, curvature = mean @ mean, mean @ hessian @ mean
    exact = found["noisy"].exact
    np.testing.assert_allclose(exact.loss, found["loss"], rtol=1e-10)
    np.testing.assert_allclose(exact.sharpness, curvature / square, rtol=1e-8)
    expected = square**2 / (2 * curvature) if curvature > 0 else np.nan
    np.testing.assert_allclose(exact.gain, expected, rtol=1e-8)
    noise = np.trace(hessian @ np.cov(rows.T, bias=True))
    np.testing.assert_allclose(found["noisy"].noise.value, noise / square, rtol=1e-8)
    assert found["noisy"].noise.sem == 0
    total = curvature + noise / 2
    expected = square**2 / (2 * total) if total > 0 else np.nan
    np.testing.assert_allclose(found["noisy"].gain, expected, rtol=1e-8)
    few = found["few"].noise
    assert 0 < abs(few.value - noise / square) < 6 * few.sem


@pytest.mark.slow
def test_traces_and_kernels_against_the_jacobian():
    found = dense()
    jacobian, rest = found["jacobian"], np.exp(found["outputs"])
    p = rest / rest.sum(axis=1, keepdims=True)
    middle = np.einsum("no,op->nop", p, np.eye(3)) - np.einsum("no,np->nop", p, p)
    trace = np.einsum("nap,nab,nbp->", jacobian, middle, jacobian) / 7
    np.testing.assert_allclose(found["redundancy"], trace, rtol=1e-10)
    trace = np.sum(jacobian**2) / 7 / 4  # sigma = 2
    np.testing.assert_allclose(found["regression"], trace, rtol=1e-10)
    sampled = found["sampled"]
    assert abs(sampled.mean() - trace) < 4 * sampled.std() / 300**0.5
    flat, summed = jacobian.reshape(21, -1), jacobian.sum(axis=1)
    for name, rows in (("kernel", flat), ("summed", summed)):
        expected = np.linalg.eigvalsh(rows @ rows.T / 7)
        np.testing.assert_allclose(found[name], expected, rtol=1e-8, atol=1e-12)


def test_expectations_over_minibatches():
    """The norms of minibatch gradients, averaged over all minibatches that can be drawn."""
    rows = np.random.default_rng(0).normal(size=(4, 3)) + 0.5
    mean = rows.mean(axis=0)
    variance = np.mean(np.sum((rows - mean) ** 2, axis=1))
    own = moments(np.linalg.norm(mean), variance**0.5, 4)
    squares = {}
    for size, draw in ((1, True), (2, True), (3, True), (2, False), (3, False), (4, False)):
        drawn = itertools.product if draw else itertools.permutations
        options = {"repeat": size} if draw else {"r": size}
        means = [rows[list(i)].mean(axis=0) for i in drawn(range(4), **options)]
        squares[size, draw] = np.mean(np.sum(np.square(means), axis=1))
        found = optimisation_readiness(own, 0.7, minibatch_size=size, replacement=draw)
        expected = (mean @ mean) ** 2 / (0.7 * squares[size, draw])
        np.testing.assert_allclose(found.value, expected, rtol=1e-5)
    pair = moments_of_minibatches(squares[1, True], squares[3, True], small_size=1, large_size=3)
    np.testing.assert_allclose(pair, (mean @ mean, variance), rtol=1e-5)


def test_an_isotropic_bowl():
    """With the curvature beta in all directions the gain is L / (2 beta) times the readiness."""
    rng = np.random.default_rng(1)
    size, deviation = 1.3, 2.1
    beta, loss = 0.4, 3.0
    for m in rng.integers(1, 50, 3):
        ready = optimisation_readiness(moments(size, deviation), loss, minibatch_size=int(m))
        gain = size**4 / (2 * (beta * size**2 + beta * deviation**2 / m))
        np.testing.assert_allclose(loss * ready.value / (2 * beta), gain, rtol=1e-5)
        scale = gradient_noise_scale(moments(size, deviation))
        np.testing.assert_allclose(ready.reliability, m / (m + scale), rtol=1e-5)


def test_what_is_rejected():
    rows = jnp.asarray(ROWS)
    own = moments(1.0, 1.0)
    with pytest.raises(ValueError, match="`minibatch_size` is 3, but must be at most 2"):
        optimisation_readiness(own, 1.0, minibatch_size=3, replacement=False)
    with pytest.raises(ValueError, match="`minibatch_size` is 0"):
        noise_bound(own, minibatch_size=0)
    with pytest.raises(ValueError, match="`large_size` is 2"):
        moments_of_minibatches(1.0, 1.0, small_size=2, large_size=2)
    with pytest.raises(ValueError, match="arrays of two or more axes"):
        empirical_fisher_rank(GradientProducts(rows[0], {"b": rows}, ()))
    for function in (gradient_moments, gradient_products):
        with pytest.raises(ValueError, match="`gradients` is {}, but must have"):
            function({})
    risk = Risk(over_examples, SquaredError(), rows, rows, batch_dependent=True)
    with pytest.raises(ValueError, match="`risk` is `batch_dependent`, but the gradient of one"):
        example_gradients(risk, {"w": rows})
    options = {"minibatch_size": 1, "key": jax.random.key(0)}
    with pytest.raises(ValueError, match="`risk` is `batch_dependent`"):
        noisy_one_step_gain(risk, {"w": rows}, **options)
    plain = Risk(linear_forward, SquaredError(), rows, rows)
    with pytest.raises(ValueError, match="`num_samples` is 10, but must be at most 2"):
        noisy_one_step_gain(plain, rows, **options)
    spectrum = dataclasses.replace(known_spectrum(rows[0], rows[0], 2), whole=False)
    with pytest.raises(ValueError, match=r"from random vectors.* use `Dense\(\)`"):
        spectral_energy_rank(spectrum)
