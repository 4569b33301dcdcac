"""Losses and their curvature in the outputs, against derivatives of formulas written by hand."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from curvature_cases import LOSSES, normal

from spectral.curvature import (
    Convex,
    Empirical,
    Exact,
    Sampled,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
)


def computed(row, seed):
    """What the library computes, and the loss and its derivatives by JAX."""
    rng = np.random.default_rng(seed)
    loss, outputs = row.loss(), 2 * normal(rng, 7, 3)
    targets, tangent = row.targets(rng), normal(rng, 7, 3)

    def program(loss, outputs, targets, tangent):
        arguments = loss, outputs, targets, jnp.arange(7)
        computed = (
            loss.losses(outputs, targets),
            loss.hessian_product(outputs, targets, tangent),
            Exact().product(*arguments)(tangent),
            Exact().columns(*arguments),
            Empirical().product(*arguments)(tangent),
            Empirical().columns(*arguments),
        )
        both = lambda z, y: (
            row.reference(z, y),
            jax.grad(row.reference)(z, y),
            jax.hessian(row.reference)(z, y),
        )
        return computed, jax.vmap(both)(outputs, targets), tangent

    return program, (loss, outputs, targets, tangent)


# The others differ only in a scale, or are simpler.
QUICK = ("squared_large", "softmax", "sigmoid", "convex_coupled")
SLOW = tuple(name for name in LOSSES if name not in QUICK)


@functools.cache
def results(names):
    """Of several losses, from one program."""
    with jax.enable_x64(True):
        programs = {name: computed(LOSSES[name], seed) for seed, name in enumerate(names)}
        arguments = {name: data for name, (_, data) in programs.items()}
        run = lambda a: {name: program(*a[name]) for name, (program, _) in programs.items()}
        return jax.tree.map(np.asarray, eqx.filter_jit(run)(arguments))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_loss_and_its_derivatives(name):
    names = QUICK if name in QUICK else SLOW
    found, (expected, gradients, hessians), tangent = results(names)[name]
    losses, product, exact, columns, empirical, gradient = found
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    close(losses, expected.mean() if name == "convex_mean" else expected)
    close(product, np.einsum("nab,nb->na", hessians, tangent))
    close(exact, product)
    close(np.einsum("kna,knb->nab", columns, columns), hessians)
    close(gradient[0], gradients)
    close(empirical, gradients * np.sum(gradients * tangent, axis=1)[:, None])


SAMPLED = {
    "squared": SquaredError(scale=0.5),
    "squared_large": SquaredError(scale=3.0),
    "softmax": SoftmaxCrossEntropy(),
    "sigmoid": SigmoidCrossEntropy(),
}
NUM_SAMPLES = 40_000


@functools.cache
def samples():
    """Gradients at drawn targets, and roots of the Hessians, of all losses from one program."""

    @eqx.filter_jit
    def program(factor, losses, outputs):
        found = {}
        for name, loss in losses.items():
            targets = jnp.zeros(2, int) if name == "softmax" else jnp.zeros((2, 3))
            draws = factor.columns(loss, outputs, targets, jnp.arange(2))
            found[name] = draws, loss.hessian_root(outputs, targets)
        return found

    with jax.enable_x64(True):
        outputs = jnp.asarray([[1.0, -1.0, 0.5], [0.0, 0.0, 2.0]])
        factor = Sampled(jax.random.key(5), num_samples=NUM_SAMPLES)
        return jax.tree.map(np.asarray, program(factor, SAMPLED, outputs))


@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_gradients_have_the_hessian_as_covariance(name):
    draws, root = samples()[name]
    draws = draws * NUM_SAMPLES**0.5
    hessians = np.einsum("kna,knb->nab", root, root)
    assert draws.shape == (NUM_SAMPLES, 2, 3)
    sem = np.std(draws, axis=0) / NUM_SAMPLES**0.5
    assert np.all(np.abs(draws.mean(axis=0)) <= 5 * sem)
    products = np.einsum("kna,knb->knab", draws, draws)
    sem = np.std(products, axis=0) / NUM_SAMPLES**0.5
    assert np.all(np.abs(products.mean(axis=0) - hessians) <= 5 * sem + 1e-12)
    assert np.all(sem < 0.05 * np.abs(hessians).max())


def test_draws_belong_to_the_example(getkey):
    """They do not depend on its place in a batch or on the other examples, and all differ."""
    outputs = jnp.asarray(np.broadcast_to(np.array([0.3, -0.2], np.float32), (6, 2)))

    @eqx.filter_jit
    def draw(key, indices):
        factor = Sampled(key, num_samples=4)
        return factor.columns(SquaredError(), outputs[: indices.size], outputs, indices)

    key = getkey()
    whole = np.asarray(draw(key, jnp.asarray(np.arange(6))))
    part = draw(key, jnp.asarray(np.array([4, 1, 9, 0, 2, 3])))
    np.testing.assert_array_equal(part[:, :2], whole[:, np.array([4, 1])])
    assert np.unique(whole[:, :, 0]).size == 24
    assert np.intersect1d(whole, draw(getkey(), jnp.asarray(np.arange(6)))).size == 0


@functools.cache
def roots():
    """The root where a loss is not convex, and that of confident predictions."""
    softmax = Convex(optax.softmax_cross_entropy_with_integer_labels)
    outputs = np.array([[18.0, 0.0, 1.0], [17.3, -3.0, 0.7], [30.0, 1.0, 2.0]], np.float32)
    cosine = Convex(lambda z, y: jnp.sum(jnp.cos(z), axis=1))

    def program():
        targets = jnp.zeros(2)
        root = cosine.hessian_root(jnp.asarray([[1.0, 2.0], [0.1, 0.2]]), targets)
        return root, softmax.hessian_root(jnp.asarray(outputs), jnp.asarray([0, 1, 2]))

    return jax.tree.map(np.asarray, jax.jit(program)())


def test_the_root_is_nan_where_the_loss_is_not_convex():
    root, _ = roots()
    assert np.isnan(root[:, 1]).all()
    assert np.isnan(root[:, 0]).any()


def test_a_confident_prediction_leaves_only_rounding():
    """Its Hessian may be anything of the size of the machine epsilon, negative included."""
    _, root = roots()
    product = np.einsum("kna,knb->nab", root, root)
    assert np.all(np.abs(product) < 1e-6)


def test_confident_predictions_in_closed_form(getkey):
    outputs = jnp.asarray([[200.0, -200.0, 0.0], [-1e4, 1e4, 0.0]])

    @eqx.filter_jit
    def program(key):
        found = []
        for loss, targets in [
            (SoftmaxCrossEntropy(), jnp.zeros(2, int)),
            (SigmoidCrossEntropy(), jnp.ones((2, 3))),
        ]:
            found.append(loss.hessian_root(outputs, targets))
            found.append(loss.sampled_gradient(outputs, targets, key=key))
            found.append(loss.hessian_product(outputs, targets, jnp.ones((2, 3))))
        return found

    assert all(np.isfinite(x).all() for x in program(getkey()))


def test_default_scale():
    assert SquaredError().scale == 0.5


@pytest.mark.parametrize("scale", [0.0, -1.0, jnp.nan])
def test_bad_scales(scale):
    with pytest.raises(ValueError, match="`scale` is .*above 0"):
        SquaredError(scale=scale)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "message"),
    [
        # Without the check these would be broadcast to all pairs of examples.
        (SquaredError(), (7, 1), jnp.ones(7), r"`targets` has the shape \(7,\), .*\(7, 1\)"),
        (SigmoidCrossEntropy(), (7,), jnp.ones((7, 1)), r"`targets` has the shape \(7, 1\)"),
        (SoftmaxCrossEntropy(), (7, 3), jnp.ones(7), "`targets` is float32"),
        (SoftmaxCrossEntropy(), (7, 3), jnp.ones((7, 3), int), r"`targets` is int32 \(7, 3\)"),
        # Or softmax taken over positions.
        (SoftmaxCrossEntropy(), (7, 3, 2), jnp.ones((7, 2), int), r"outputs .* \(7, 3, 2\)"),
    ],
)
def test_bad_data(loss, outputs, targets, message):
    outputs = jnp.asarray(np.ones(outputs))
    for call in (
        lambda: loss.losses(outputs, targets),
        lambda: loss.hessian_product(outputs, targets, outputs),
        lambda: loss.hessian_root(outputs, targets),
    ):
        with pytest.raises(ValueError, match=message):
            call()
