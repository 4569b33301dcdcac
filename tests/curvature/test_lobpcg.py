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
    distinct = rotated(np.r_[VALUES[:2], VALUES[3:-1]])
    ours = extreme_eigenpairs(Matrix(distinct), count=2, key=KEY)
    theirs = lobpcg_eigenpairs(Matrix(distinct), count=2, key=KEY)
    np.testing.assert_allclose(theirs.largest.values, ours.largest.values, rtol=1e-9)
    np.testing.assert_allclose(theirs.smallest.values, ours.smallest.values, rtol=1e-9)
    # Of a matrix of zeros, and of a positive one.
    nothing = find(Matrix(0 * array))
    assert (np.asarray(nothing.largest.values) == 0).all()
    assert (np.asarray(nothing.smallest.residuals) == 0).all()
    positive = rotated(np.r_[1e-3, 2e-3, 3e-3, np.linspace(1, 2, DIM - 3)])
    np.testing.assert_allclose(
        find(Matrix(positive)).smallest.values, [1e-3, 2e-3, 3e-3], rtol=1e-6
    )


def test_bad_arguments():
    with pytest.raises(ValueError, match="`count` is 2, but 5 times it must be below 10"):
        lobpcg_eigenpairs(Matrix(jnp.eye(10)), count=2, key=KEY)
    with pytest.raises(ValueError, match="`max_steps` is 0"):
        lobpcg_eigenpairs(Matrix(jnp.eye(10)), key=KEY, max_steps=0)
    find = lambda size: lobpcg_eigenpairs(Matrix(jnp.eye(10)) * size, key=KEY).largest.values[0]
    with pytest.raises(TypeError, match="has no derivative"):
        jax.make_jaxpr(jax.grad(find))(1.0)
