"""Derivatives through estimators: right, or rejected with a reason. And other units of a loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import check_scaled, rotated

from spectral.curvature import (
    Chebyshev,
    Deflated,
    Dense,
    ExactDiagonal,
    extreme_eigenpairs,
    GaussNewton,
    GramEigh,
    Hutchinson,
    HutchinsonDiagonal,
    HutchPlusPlus,
    KFAC,
    KroneckerEigh,
    Lanczos,
    log_det,
    MatfreeLanczos,
    Matrix,
    Risk,
    SquaredError,
    trace,
    XDiagonal,
    XNysDiagonal,
    XNysTrace,
    XTrace,
)


DIM = 8
ARRAY = rotated(np.linspace(1, 3, DIM))
KEY = jax.random.key(0)


def log_det_of(estimator, size):
    return log_det(estimator(Matrix(size * jnp.asarray(ARRAY, float)), key=KEY)).value


def trace_of(estimator, size):
    estimate = estimator(Matrix(size * jnp.asarray(ARRAY, float)), key=KEY).value
    return jnp.sum(estimate)


@pytest.mark.parametrize(
    ("answer", "estimator"),
    [
        (log_det_of, Lanczos(order=3, num_vectors=1)),
        (trace_of, XTrace(num_samples=2)),
        *(
            pytest.param(answer, estimator, marks=pytest.mark.slow)
            for answer, estimator in [
                (log_det_of, MatfreeLanczos(order=3)),
                (log_det_of, Deflated(order=3, deflation_order=3)),
                (log_det_of, Chebyshev(order=3)),
                (trace_of, XNysTrace(num_samples=2)),
                (trace_of, HutchPlusPlus(num_samples=2)),
            ]
        ),
    ],
)
def test_estimators_without_a_derivative_say_so(answer, estimator):
    with pytest.raises(TypeError, match="has no derivative: .* Use `Hutchinson`"):
        jax.make_jaxpr(jax.grad(lambda size: answer(estimator, size)))(1.0)


def test_also_through_a_function_that_closes_over_the_variable():
    def largest(size):
        pairs = extreme_eigenpairs(Matrix(jnp.eye(3)) * size, key=KEY)
        return pairs.largest.values[0]

    with pytest.raises(TypeError, match="y . A y with its eigenvector y"):
        jax.make_jaxpr(jax.grad(largest))(1.0)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_derivatives_of_a_trace_and_of_a_determinant():
    kinds = Hutchinson, HutchinsonDiagonal, XDiagonal, XNysDiagonal
    for estimator in (kind(num_samples=2) for kind in kinds):
        value, slope = jax.value_and_grad(lambda size, e=estimator: trace_of(e, size))(1.5)
        np.testing.assert_allclose(slope, value / 1.5, rtol=1e-9)
    slope = jax.grad(lambda size: log_det_of(Dense(), size))(1.5)
    np.testing.assert_allclose(slope, DIM / 1.5, rtol=1e-9)


def forward(model, inputs):
    return jax.vmap(model)(inputs)


def network_and_risk(scale):
    rng = np.random.default_rng(0)
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=KEY)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), float)
    return model, Risk(forward, SquaredError(scale=scale), draw(5, 3), draw(5, 2))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("matrix", "estimator"), [(GaussNewton, GramEigh()), (KFAC, KroneckerEigh())]
)
def test_derivatives_through_the_spectrum_of_a_network(matrix, estimator):
    model, risk = network_and_risk(1.0)

    def answer(size):
        scaled = jax.tree.map(lambda x: size * x if eqx.is_inexact_array(x) else x, model)
        return trace(estimator(matrix(risk, scaled), key=KEY)).value

    slope, step = jax.grad(answer)(1.1), 1e-5
    np.testing.assert_allclose(
        slope, (answer(1.1 + step) - answer(1.1 - step)) / (2 * step), rtol=1e-6
    )


@pytest.mark.slow
def test_other_units_of_the_loss_of_a_network():
    """The factor takes a root of the unit, so a power of four changes no digit."""
    model, risk = network_and_risk(1.0)
    whole, factors, diagonal = (e(m(risk, model), key=KEY) for m, e in PAIRS)
    size = KFAC(risk, model).frobenius_norm()
    for power in (-100, -40, 40, 100):
        _, scaled = network_and_risk(2.0**power)
        check_scaled(GramEigh()(GaussNewton(scaled, model), key=KEY), whole, power)
        other = KroneckerEigh()(KFAC(scaled, model), key=KEY)
        # B has the unit of the loss and A has none, so the products of their eigenvalues compare.
        check_scaled(products(other), products(factors), power)
        assert KFAC(scaled, model).frobenius_norm() == np.ldexp(size, power)
        check_scaled(ExactDiagonal()(GaussNewton(scaled, model), key=KEY), diagonal, power)


def products(spectrum):
    blocks = [longer[:, None] * shorter[None] for longer, shorter in spectrum.factors]
    return blocks, spectrum.tolerance, spectrum.range(), trace(spectrum)


PAIRS = (
    (GaussNewton, GramEigh()),
    (KFAC, KroneckerEigh()),
    (GaussNewton, ExactDiagonal()),
)
