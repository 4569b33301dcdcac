"""LOBPCG of JAX against known eigenpairs, and against Lanczos."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import check_scaled, rotated

from spectral.curvature import extreme_eigenpairs, lobpcg_eigenpairs, Matrix


DIM, COUNT = 24, 3
VALUES = np.r_[-6.0, -5.0, -5.0, np.linspace(-0.1, 0.5, DIM - 6), 4.0, 30.0, 30.0]
KEY = jax.random.key(0)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_eigenpairs_at_both_ends():
    array = rotated(VALUES)
    find = functools.partial(lobpcg_eigenpairs, count=COUNT, key=KEY)
    found = find(Matrix(array))
    # Also the copies of multiple eigenvalues, which Lanczos from one vector does not find.
    np.testing.assert_allclose(found.largest.values, [30, 30, 4], rtol=1e-10)
    np.testing.assert_allclose(found.smallest.values, [-6, -5, -5], rtol=1e-10)
    for pairs in (found.largest, found.smallest):
        vectors, values = np.asarray(pairs.vectors), np.asarray(pairs.values)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(COUNT), atol=1e-10)
        left = np.linalg.norm(vectors @ array - values[:, None] * vectors, axis=1)
        np.testing.assert_allclose(pairs.residuals, left, atol=1e-12)
        assert left.max() < 1e-10
    for power in (-100, 100):
        again = find(Matrix(np.ldexp(array, power)))
        for own, other in ((again.largest, found.largest), (again.smallest, found.smallest)):
            check_scaled((own.values, own.residuals), (other.values, other.residuals), power)
            np.testing.assert_array_equal(own.vectors, other.vectors)
    distinct = Matrix(rotated(np.r_[1e-3, 2e-3, 3e-3, np.linspace(1, 2, DIM - 5), 3.0, 4.0]))
    ours = extreme_eigenpairs(distinct, count=COUNT, key=KEY)
    theirs = find(distinct)
    for own, other in ((theirs.largest, ours.largest), (theirs.smallest, ours.smallest)):
        np.testing.assert_allclose(own.values, other.values, rtol=1e-9)
    # Where the matrix is exactly 0, as for dead units.
    for diagonal in (np.zeros(DIM), np.r_[5.0, np.zeros(DIM - 1)], np.ones(DIM)):
        found = find(Matrix(np.diag(diagonal)))
        largest, smallest = np.sort(diagonal)[-COUNT:][::-1], np.sort(diagonal)[:COUNT]
        np.testing.assert_allclose(found.largest.values, largest, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found.smallest.values, smallest, rtol=1e-12, atol=1e-13)
    assert np.isnan(find(Matrix(np.full((DIM, DIM), np.nan))).largest.values).all()


@pytest.mark.slow
def test_there_is_no_derivative():
    find = lambda size: lobpcg_eigenpairs(Matrix(jnp.eye(10)) * size, key=KEY).largest.values[0]
    with pytest.raises(TypeError, match="has no derivative"):
        jax.make_jaxpr(jax.grad(find))(1.0)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`count` is 2, but 5 times it must be below 10"):
        lobpcg_eigenpairs(Matrix(jnp.eye(10)), count=2, key=KEY)
    with pytest.raises(ValueError, match="`max_steps` is 0"):
        lobpcg_eigenpairs(Matrix(jnp.eye(10)), key=KEY, max_steps=0)
