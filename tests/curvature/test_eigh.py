"""Eigenpairs of many matrices, which must not wait for a pool of threads on CPU."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral._eigh import eigh


MATRICES = np.random.default_rng(0).normal(size=(2, 3, 5, 5))
MATRICES = MATRICES + MATRICES.swapaxes(-1, -2)


@pytest.mark.usefixtures("float64")
def test_of_many_as_of_each():
    values, vectors = jax.jit(jax.vmap(jax.vmap(eigh)))(jnp.asarray(MATRICES))
    expected = np.linalg.eigh(MATRICES)
    np.testing.assert_allclose(values, expected.eigenvalues, rtol=1e-12, atol=1e-12)
    rebuilt = (np.asarray(vectors) * np.asarray(values)[..., None, :]) @ np.asarray(vectors).mT
    np.testing.assert_allclose(rebuilt, MATRICES, atol=1e-12)


def test_lapack_is_never_handed_a_batch():
    """Two programs that do so, one for each of two host devices, stand still."""
    lowered = jax.jit(jax.vmap(jax.vmap(eigh))).lower(jnp.asarray(MATRICES, jnp.float32))
    calls = re.findall(r"custom_call @lapack\w*syevd.*", lowered.as_text())
    assert calls
    assert all("tensor<5x5xf32>" in call and "x5x5x" not in call for call in calls)


@pytest.mark.usefixtures("float64")
def test_the_derivative():
    matrix, weights, change = (np.asarray(MATRICES[0, n]) for n in range(3))

    @jax.jit
    @jax.grad
    def slope(matrix):
        values, vectors = eigh(matrix)
        return jnp.sum(weights * ((vectors * jnp.exp(values)[None]) @ vectors.T))

    def value(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return np.sum(weights * ((vectors * np.exp(values)) @ vectors.T))

    difference = (value(matrix + 1e-6 * change) - value(matrix - 1e-6 * change)) / 2e-6
    found = np.sum(np.asarray(slope(jnp.asarray(matrix))) * change)
    np.testing.assert_allclose(found, difference, rtol=1e-6)
