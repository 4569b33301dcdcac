"""Losses and their curvature in the outputs, against derivatives of formulas written by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from curvature_cases import LOSSES

from spectral.curvature import (
    Convex,
    Empirical,
    Exact,
    Sampled,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_its_derivatives(name, getkey):
    row = LOSSES[name]
    outputs, targets = 2 * jax.random.normal(getkey(), (7, 3)), row.targets(getkey())
    tangent, rows = jax.random.normal(getkey(), (7, 3)), jnp.arange(7)

    @eqx.filter_jit
    def computed(loss):
        arguments = loss, outputs, targets, rows
        return (
            loss.losses(outputs, targets),
            loss.hessian_product(outputs, targets, tangent),
            Exact().product(*arguments)(tangent),
            Exact().columns(*arguments),
            Empirical().product(*arguments)(tangent),
            Empirical().columns(*arguments),
        )

    losses, product, exact, columns, empirical, gradient = computed(row.loss())
    expected = jax.vmap(row.reference)(outputs, targets)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    close(losses, expected.mean() if name == "convex_mean" else expected)
    hessians = jax.jit(jax.vmap(jax.hessian(row.reference)))(outputs, targets)
    close(product, jnp.einsum("nab,nb->na", hessians, tangent))
    close(exact, product)
    close(jnp.einsum("kna,knb->nab", columns, columns), hessians)
    gradients = jax.jit(jax.vmap(jax.grad(row.reference)))(outputs, targets)
    close(gradient[0], gradients)
    close(empirical, gradients * jnp.sum(gradients * tangent, axis=1)[:, None])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "loss",
    [
        SquaredError(scale=0.5),
        SquaredError(scale=3.0),
        SoftmaxCrossEntropy(),
        SigmoidCrossEntropy(),
    ],
)
def test_sampled_gradients_have_the_hessian_as_covariance(loss, getkey):
    outputs = jnp.asarray([[1.0, -1.0, 0.5], [0.0, 0.0, 2.0]])
    targets = jnp.zeros(2, int) if isinstance(loss, SoftmaxCrossEntropy) else jnp.zeros((2, 3))
    samples = 40_000
    factor = Sampled(getkey(), num_samples=samples)
    draws = eqx.filter_jit(factor.columns)(loss, outputs, targets, jnp.arange(2)) * samples**0.5
    root = loss.hessian_root(outputs, targets)
    hessians = jnp.einsum("kna,knb->nab", root, root)
    assert draws.shape == (samples, 2, 3)
    sem = jnp.std(draws, axis=0) / samples**0.5
    assert np.all(np.abs(draws.mean(axis=0)) <= 5 * sem)
    products = jnp.einsum("kna,knb->knab", draws, draws)
    sem = jnp.std(products, axis=0) / samples**0.5
    assert np.all(np.abs(products.mean(axis=0) - hessians) <= 5 * sem + 1e-12)
    assert np.all(sem < 0.05 * np.abs(hessians).max())


def test_draws_belong_to_the_example(getkey):
    """Neither to its place in a batch_size nor to what stands beside it; and no two are the
    same."""
    factor = Sampled(getkey(), num_samples=4)
    outputs = jnp.broadcast_to(jnp.asarray([0.3, -0.2]), (6, 2))
    draw = lambda rows: factor.columns(SquaredError(), outputs[: rows.size], outputs, rows)
    whole, part = draw(jnp.arange(6)), draw(jnp.asarray([4, 1]))
    np.testing.assert_array_equal(part, whole[:, np.asarray([4, 1])])
    assert np.unique(whole[:, :, 0]).size == 24
    other = Sampled(getkey(), num_samples=4).columns(
        SquaredError(), outputs, outputs, jnp.arange(6)
    )
    assert np.intersect1d(whole, other).size == 0


def test_a_root_of_what_is_not_convex(getkey):
    outputs, targets = jnp.asarray([[1.0, 2.0], [0.1, 0.2]]), jnp.zeros(2)
    loss = Convex(lambda z, y: jnp.sum(jnp.cos(z), axis=1))
    root = loss.hessian_root(outputs, targets)
    assert np.isnan(root[:, 1]).all()
    assert np.isnan(root[:, 0]).any()


def test_a_confident_prediction_leaves_only_rounding():
    """Its Hessian may be anything of the size of the machine epsilon, negative included."""
    softmax = Convex(optax.softmax_cross_entropy_with_integer_labels)
    outputs = jnp.asarray([[18.0, 0.0, 1.0], [17.3, -3.0, 0.7], [30.0, 1.0, 2.0]])
    root = softmax.hessian_root(outputs, jnp.asarray([0, 1, 2]))
    product = jnp.einsum("kna,knb->nab", root, root)
    assert np.all(np.abs(product) < 1e-6)


def test_confident_predictions_in_closed_form(getkey):
    outputs = jnp.asarray([[200.0, -200.0, 0.0], [-1e4, 1e4, 0.0]])
    for loss, targets in [
        (SoftmaxCrossEntropy(), jnp.asarray([0, 0])),
        (SigmoidCrossEntropy(), jnp.ones((2, 3))),
    ]:
        for columns in (
            loss.hessian_root(outputs, targets),
            loss.sampled_gradient(outputs, key=getkey()),
            loss.hessian_product(outputs, targets, jnp.ones((2, 3))),
        ):
            assert np.all(np.isfinite(columns))


@pytest.mark.parametrize("scale", [0.0, -1.0, jnp.nan])
def test_scales_that_are_refused(scale):
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
        (SoftmaxCrossEntropy(), (7, 2, 3), jnp.ones((7, 2), int), r"outputs .* \(7, 2, 3\)"),
    ],
)
def test_data_that_are_refused(loss, outputs, targets, message):
    outputs = jnp.ones(outputs)
    for call in (
        lambda: loss.losses(outputs, targets),
        lambda: loss.hessian_product(outputs, targets, outputs),
        lambda: loss.hessian_root(outputs, targets),
    ):
        with pytest.raises(ValueError, match=message):
            call()
