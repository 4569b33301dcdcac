"""Exact scaling by powers of two, norms of entries of any size, and eigenvalues in any units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral._base._scaling import exponent_of, joint_norm, norm, times_power
from spectral._eigh import eigh, eigvalsh


ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
NORMS = np.sqrt(np.sum(ROWS**2, axis=1))


def test_powers_of_two_change_no_digit():
    for power in (-120, -100, 0, 63, 120):
        np.testing.assert_array_equal(times_power(jnp.asarray(ROWS), power), np.ldexp(ROWS, power))
    # One factor would be out of range, the result is not.
    near = jnp.asarray([1.5 * 2.0**-100, 0.0, jnp.inf], jnp.float32)
    np.testing.assert_array_equal(times_power(near, 200), [1.5 * 2.0**100, 0, np.inf])
    exponents = exponent_of(jnp.asarray([[0.75, -6.0], [1.0, 0.0]]), 1)
    np.testing.assert_array_equal(exponents, [3, 1])
    for entry in (0.0, np.nan, np.inf):
        assert exponent_of(jnp.asarray([entry])) == 0


@pytest.mark.parametrize("power", [-110, -70, 0, 70, 110])
def test_the_norm_of_entries_of_any_size(power):
    rows = jnp.asarray(np.ldexp(ROWS, power))
    np.testing.assert_array_equal(norm(rows, 1), np.ldexp(NORMS, power))
    assert norm(rows, (0, 1), keepdims=True).shape == (1, 1)
    assert np.isnan(norm(rows.at[0].set(jnp.nan)))
    assert norm(0 * rows) == 0


def test_the_joint_norm_of_several_arrays():
    for dtype, power in ((np.float32, -100), (np.float32, 100), (np.float32, 0)):
        arrays = [jnp.asarray(np.ldexp(ROWS, power).astype(dtype)), jnp.zeros((0,)), jnp.zeros(2)]
        expected = np.ldexp(np.sqrt(np.sum(ROWS**2)), power)
        np.testing.assert_allclose(joint_norm([*arrays, arrays[0][0]]) > expected, True)
        np.testing.assert_allclose(joint_norm(arrays), expected, rtol=1e-6)
    with jax.enable_x64(True):
        wide = jnp.asarray(1e-200 * np.ones(4))
        np.testing.assert_allclose(joint_norm([wide, jnp.zeros(1, jnp.float32)]), 2e-200)


@pytest.mark.parametrize("power", [-100, 100])
def test_eigenvalues_in_any_units(power):
    matrix = ROWS[:, :3] + ROWS[:, :3].T
    scaled = jnp.asarray(np.ldexp(matrix, power))
    values, vectors = eigh(jnp.asarray(matrix))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), rtol=1e-5)
    np.testing.assert_array_equal(eigh(scaled)[0], np.ldexp(values, power))
    np.testing.assert_array_equal(eigh(scaled)[1], vectors)
    np.testing.assert_array_equal(eigvalsh(scaled), np.ldexp(eigvalsh(jnp.asarray(matrix)), power))
