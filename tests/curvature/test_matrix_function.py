"""f(A) v against `eigh`, and the density of logarithms against its formula."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import check_scaled, rotated

from spectral.curvature import log_density, Matrix, matrix_function
from spectral.curvature.spectra._spectrum import known_spectrum


DIM, ORDER = 24, 12
VALUES = np.r_[-2.0, np.linspace(-0.3, 1, DIM - 3), 3.0, 4.0]
VECTOR = np.random.default_rng(0).normal(size=DIM)


class Mixture(eqx.Module):
    """Several functions in one program."""

    parts: jax.Array

    def __call__(self, x):
        return self.parts[0] * jnp.abs(x) + self.parts[1] * x**3 + self.parts[2] * jnp.cos(x)


def find(array, vector, *parts):
    function = Mixture(jnp.asarray(parts))
    return matrix_function(Matrix(array), function, jnp.asarray(vector), order=ORDER)


def expected(array, vector, function):
    values, vectors = np.linalg.eigh(array)
    return (vectors * function(values)) @ vectors.T @ vector


@pytest.mark.usefixtures("float64")
def test_functions_of_a_matrix():
    array = rotated(VALUES)
    found = find(array, VECTOR, 0.0, 1.0, 0.0)  # a polynomial
    np.testing.assert_allclose(found.value, array @ array @ array @ VECTOR, rtol=1e-10)
    assert found.error < 1e-11
    found = find(array, VECTOR, 0.0, 0.0, 1.0)
    distance = np.linalg.norm(found.value - expected(array, VECTOR, np.cos))
    assert distance < found.error < 1e-3
    found = find(array, VECTOR, 1.0, 0.0, 0.0)  # not smooth: much slower
    distance = np.linalg.norm(found.value - expected(array, VECTOR, np.abs))
    assert 1e-3 < distance < 2 * found.error < 1
    for power in (-100, 100):
        scaled = find(np.ldexp(array, power), VECTOR, 1.0, 0.0, 0.0)
        check_scaled(scaled, found, power)
        scaled = find(array, np.ldexp(VECTOR, 5 * power), 1.0, 0.0, 0.0)
        check_scaled(scaled, found, 5 * power)
    low = rotated(np.r_[np.zeros(DIM - 3), 1.0, 2.0, 5.0])  # its Krylov spaces end
    found = find(low, VECTOR, 0.5, 0.0, 1.0)
    function = lambda x: 0.5 * np.abs(x) + np.cos(x)
    np.testing.assert_allclose(found.value, expected(low, VECTOR, function), rtol=1e-9, atol=1e-12)
    assert found.error == 0
    nothing = find(array, 0 * VECTOR, 1.0, 1.0, 1.0)
    assert (np.asarray(nothing.value) == 0).all()
    assert nothing.error == 0
    assert np.isnan(find(np.nan * array, VECTOR, 1.0, 0.0, 0.0).value).all()


def test_bad_arguments_of_a_matrix_function():
    matrix = Matrix(jnp.eye(3))
    with pytest.raises(ValueError, match="`order` is 4, but must be at most 3"):
        matrix_function(matrix, jnp.abs, jnp.ones(3), order=4)
    with pytest.raises(ValueError, match="`vector` is"):
        matrix_function(matrix, jnp.abs, jnp.ones(4))


@pytest.mark.slow
def test_a_matrix_function_has_no_derivative():
    matrix = Matrix(jnp.eye(3))
    product = functools.partial(matrix_function, function=jnp.abs, vector=jnp.ones(3), order=2)
    with pytest.raises(TypeError, match="has no derivative"):
        jax.make_jaxpr(jax.grad(lambda size: product(matrix * size).error))(1.0)


def numpy_density(nodes, weights, grid, width):
    with np.errstate(divide="ignore"):
        distance = (np.log10(np.abs(nodes))[None] - np.log10(grid)[:, None]) / width
    kernel = np.exp(-(distance**2) / 2) / (np.sqrt(2 * np.pi) * width)
    return kernel @ weights


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_density_of_logarithms():
    values = np.r_[np.zeros(8), -(10.0 ** np.linspace(-6, -2, 8)), 10.0 ** np.linspace(-1, 2, 8)]
    grid = np.logspace(-9, 5, 1500)
    nodes = jnp.asarray(values)
    ask = jax.jit(log_density)
    exact = lambda x: known_spectrum(x, jnp.full_like(x, 1 / DIM), DIM)
    found = ask(exact(nodes), jnp.asarray(grid), width=0.2)
    truth = numpy_density(values, np.full(DIM, 1 / DIM), grid, 0.2)
    np.testing.assert_allclose(found.value, truth, rtol=1e-9, atol=1e-12)
    assert (np.asarray(found.sem) == 0).all()
    # The zeros lie far outside of the grid.
    total = np.sum(found.value) * np.diff(np.log10(grid))[0]
    np.testing.assert_allclose(total, 2 / 3, rtol=1e-3)
    scaled = exact(jnp.asarray(np.ldexp(values, 100)))
    again = ask(scaled, jnp.asarray(np.ldexp(grid, 100)), width=0.2)
    np.testing.assert_array_equal(again.value, found.value)
    # Of three vectors with other weights.
    weights = np.random.default_rng(0).dirichlet(np.ones(DIM), 3)
    several = jax.tree.map(lambda x: jnp.asarray(np.repeat(x, 3, axis=0)), exact(nodes))
    several = dataclasses.replace(several, weights=jnp.asarray(weights), whole=False)
    found = ask(several, jnp.asarray(grid), width=1.0)
    each = np.stack([numpy_density(values, w, grid, 1.0) for w in weights])
    np.testing.assert_allclose(found.value, each.mean(axis=0), rtol=1e-9, atol=1e-15)
    sem = each.std(axis=0, ddof=1) / 3**0.5
    np.testing.assert_allclose(found.sem, sem, rtol=1e-7, atol=1e-14)


def test_bad_arguments_of_the_density():
    spectrum = known_spectrum(jnp.ones(3), jnp.full(3, 1 / 3), 3)
    with pytest.raises(ValueError, match="`width` is 0"):
        log_density(spectrum, jnp.ones(3), width=0.0)
    with pytest.raises(ValueError, match="`grid` is .* above 0"):
        log_density(spectrum, jnp.zeros(3))
