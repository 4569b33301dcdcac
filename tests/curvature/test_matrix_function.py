"""f(A) v against `eigh`, and the density of logarithms against its formula."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import check_scaled, rotated

from spectral.curvature import Dense, Lanczos, log_density, Matrix, matrix_function


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
    product = functools.partial(matrix_function, function=jnp.abs, vector=jnp.ones(3), order=2)
    with pytest.raises(TypeError, match="has no derivative"):
        jax.make_jaxpr(jax.grad(lambda size: product(matrix * size).error))(1.0)


def numpy_density(nodes, weights, grid, width):
    with np.errstate(divide="ignore"):
        distance = (np.log10(np.abs(nodes))[None] - np.log10(grid)[:, None]) / width
    kernel = np.exp(-(distance**2) / 2) / (np.sqrt(2 * np.pi) * width)
    return kernel @ weights


@pytest.mark.usefixtures("float64")
def test_the_density_of_logarithms(getkey):
    values = np.r_[np.zeros(8), -(10.0 ** np.linspace(-6, -2, 8)), 10.0 ** np.linspace(-1, 2, 8)]
    grid = np.logspace(-9, 5, 1500)
    array = rotated(values)
    exact = Dense()(Matrix(array), key=getkey())
    found = log_density(exact, jnp.asarray(grid), width=0.2)
    truth = numpy_density(np.asarray(exact.nodes[0]), np.full(DIM, 1 / DIM), grid, 0.2)
    np.testing.assert_allclose(found.value, truth, rtol=1e-9, atol=1e-12)
    assert (np.asarray(found.sem) == 0).all()
    # The zeros lie far outside of the grid.
    total = np.sum(found.value) * np.diff(np.log10(grid))[0]
    np.testing.assert_allclose(total, 2 / 3, rtol=1e-3)
    scaled = Dense()(Matrix(np.ldexp(array, 100)), key=getkey())
    again = log_density(scaled, jnp.asarray(np.ldexp(grid, 100)), width=0.2)
    np.testing.assert_array_equal(again.value, found.value)
    few = Lanczos(order=DIM)(Matrix(array), key=getkey())
    found = log_density(few, jnp.asarray(grid[::100]), width=1.0)
    per_vector = np.stack(
        [
            numpy_density(n, w, grid[::100], 1.0)
            for n, w in zip(np.asarray(few.nodes), np.asarray(few.weights), strict=True)
        ]
    )
    np.testing.assert_allclose(found.value, per_vector.mean(axis=0), rtol=1e-9, atol=1e-15)
    sem = per_vector.std(axis=0, ddof=1) / 3**0.5
    np.testing.assert_allclose(found.sem, sem, rtol=1e-7, atol=1e-15)


def test_bad_arguments_of_the_density(getkey):
    spectrum = Dense()(Matrix(jnp.eye(3)), key=getkey())
    with pytest.raises(ValueError, match="`width` is 0"):
        log_density(spectrum, jnp.ones(3), width=0.0)
    with pytest.raises(ValueError, match="`grid` is .* above 0"):
        log_density(spectrum, jnp.zeros(3))
