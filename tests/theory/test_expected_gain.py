"""What optimisation readiness says of one step, and identities between gradient and kernel."""

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from theory_profile import broken, COUNTS, tried

from spectral import theory
from spectral.curvature import (
    example_gradients,
    GaussNewton,
    gradient_moments,
    Gram,
    neural_tangent_spectrum,
    optimisation_readiness,
    Risk,
    SoftmaxCrossEntropy,
    SquaredError,
)
from spectral.theory import strategies


def expected_gain(hessian, theta, noise, lr):
    """Exactly, over four examples with L_i = theta . H theta / 2 + noise_i . theta, for minibatches
    of one; with readiness, reliability and the norm of H."""
    noise = noise - noise.mean(axis=0)
    loss = lambda x: x @ hessian @ x / 2
    gradients = hessian @ theta + noise
    gradient = gradients.mean(axis=0)
    square = gradient @ gradient
    reliability = square / np.mean(np.sum(gradients**2, axis=1))
    after = np.mean([loss(theta - lr * g) for g in gradients])
    ready = square * reliability / loss(theta)
    gain = (loss(theta) - after) / loss(theta)
    return gain, ready, reliability, float(np.linalg.norm(hessian, 2))


CASES = (strategies.numbers(3, 3), strategies.numbers(3), strategies.numbers(4, 3))


def drawn_gain(matrix, theta, noise, lr):
    """`None` if the loss, which must be positive, or the gradient is close to 0."""
    symmetric = (matrix + matrix.T) / 2  # curvature of both signs
    value, slope = theta @ symmetric @ theta, symmetric @ theta
    if value < 1e-3 or slope @ slope < 1e-3:
        return None
    return expected_gain(symmetric, theta, noise, lr)


@COUNTS
def test_a_step_gains_at_least_the_bound(count):
    applied = []

    @tried(count, *CASES, st.sampled_from([0.01, 0.1, 0.5, 2.0]))
    def holds(matrix, theta, noise, lr):
        found = drawn_gain(matrix, theta, noise, lr)
        applied.append(found is not None)
        if found is not None:
            gain, ready, reliability, beta = found
            options = {"lr": lr, "smoothness": beta}
            bound = theory.expected_gain_bound(ready, min(reliability, 1.0), **options)
            assert bound <= gain + 1e-9 * (1 + abs(gain) + abs(bound))
            a = lr * beta / reliability
            if a < 1:
                assert a * (1 - a) * ready / beta <= bound  # as printed

    assert np.mean(applied) > 0.3


def test_a_bound_that_is_larger_is_wrong():
    @broken(*CASES)
    def holds(matrix, theta, noise):
        found = drawn_gain(matrix, theta, noise, 0.1)
        if found is not None:
            gain, ready, reliability, beta = found
            a = 0.1 * beta / reliability
            assert a * (1 - a / 4) * ready / beta <= gain + 1e-9


def test_the_bound_is_attained():
    one, noise = np.ones(1), np.array([[-1.0], [1.0], [-1.0], [1.0]])  # gradients 0 and 2
    for lr, printed, exact in ((0.5, 0.0, 0.5), (0.25, 0.25, 0.375)):
        gain, ready, reliability, beta = expected_gain(np.eye(1), one, noise, lr)
        assert (ready, reliability, beta, gain) == (1, 0.5, 1, exact)
        assert theory.expected_gain_bound(ready, reliability, lr=lr, smoothness=beta) == exact
        assert 2 * lr * (1 - 2 * lr) == printed


@pytest.mark.parametrize(
    ("numbers", "match"),
    [((-1, 0.5, 1, 1), "`readiness` is -1"), ((1, 2, 1, 1), "`reliability` is 2.0, but must be")],
)
def test_what_is_rejected(numbers, match):
    ready, reliability, lr, smoothness = map(float, numbers)
    with pytest.raises(ValueError, match=match):
        theory.expected_gain_bound(ready, reliability, lr=lr, smoothness=smoothness)


def relu_forward(params, inputs):
    return jax.nn.relu(inputs @ params[0]) @ params[1]


def linear_forward(params, inputs):
    return inputs @ params


@eqx.filter_jit
def identities(params, inputs, targets, labels, rows, residuals):
    half = Risk(relu_forward, SquaredError(), inputs, targets)
    softmax = Risk(relu_forward, SoftmaxCrossEntropy(), inputs, labels)
    flat = lambda risk: jax.tree.leaves(jax.grad(lambda p: risk(p))(params))
    lone = Risk(linear_forward, SquaredError(), rows, -residuals)
    zero = jnp.zeros((2, 1))
    moments = gradient_moments(example_gradients(lone, zero))
    return {
        "residual": relu_forward(params, inputs) - targets,
        "kernel": Gram(half, params).dense(),
        "squared_norm": sum(jnp.sum(g**2) for g in flat(half)),
        "spectrum": neural_tangent_spectrum(half, params, all_outputs=True).nodes[0],
        "half": GaussNewton(half, params).dense(),
        "softmax": GaussNewton(softmax, params).dense(),
        "weighted": Gram(softmax, params).dense(),
        "ready": optimisation_readiness(moments, lone(zero), minibatch_size=1).value,
        "rank": neural_tangent_spectrum(lone, zero).nodes[0],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_kernel_and_the_gradient():
    rng = np.random.default_rng(0)
    shapes = ((2, 4), (4, 3), (5, 2), (5, 3))
    *params, inputs, targets = (jnp.asarray(rng.normal(size=s)) for s in shapes)
    # The gradients of three examples cancel, although inputs and kernel have full rank.
    rows = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    residuals = jnp.array([[1.0], [1.0], [-1.0]])
    labels = jnp.asarray(rng.integers(0, 3, 5))
    found = identities(params, inputs, targets, labels, rows, residuals)
    found = jax.tree.map(np.asarray, found)
    residual = found["residual"].reshape(-1)
    # ||g||^2 = r^T K r for the sum of the losses; here g and K are means over 5 examples.
    square = residual @ found["kernel"] @ residual / 5
    np.testing.assert_allclose(found["squared_norm"], square, rtol=1e-10)
    top = lambda matrix: np.sort(np.linalg.eigvalsh(matrix))[-15:]
    np.testing.assert_allclose(found["spectrum"], top(found["half"]), rtol=1e-8, atol=1e-12)
    # For cross-entropy this holds for the kernel that is weighted by the loss, and not for K.
    np.testing.assert_allclose(top(found["weighted"]), top(found["softmax"]), atol=1e-12)
    assert np.abs(top(found["softmax"]) - found["spectrum"]).max() > 0.1
    assert found["ready"] == 0
    np.testing.assert_allclose(found["rank"], np.array([0, 1, 3]) / 3, atol=1e-12)
