import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spectral.models import feature_effective_rank, feature_stable_rank, srank99


SHAPES = [(5, 9), (9, 5), (6, 6)]


def matrix(seed: int, shape: tuple[int, int], rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=shape)
    if rank is not None:
        u, s, v = np.linalg.svd(a, full_matrices=False)
        a = (u[:, :rank] * s[:rank]) @ v[:rank]
    return a


def numpy_effective_rank(a: np.ndarray) -> float:
    s = np.linalg.svd(a, compute_uv=False)
    p = s[s > s[0] * max(a.shape) * np.finfo(s.dtype).eps] / s.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.usefixtures("float64")
@given(st.integers(0, 10**6), st.sampled_from(SHAPES))
@settings(deadline=None, max_examples=50)
def test_values_against_numpy(seed, shape):
    a = matrix(seed, shape)
    s = np.linalg.svd(a, compute_uv=False)
    np.testing.assert_allclose(
        feature_effective_rank(jnp.asarray(a)), numpy_effective_rank(a), rtol=1e-10
    )
    np.testing.assert_allclose(
        feature_stable_rank(jnp.asarray(a)), (s**2).sum() / s[0] ** 2, rtol=1e-10
    )
    smallest = next(k for k in range(1, 10) if s[:k].sum() >= 0.99 * s.sum())
    assert int(srank99(jnp.asarray(a))) == smallest


@pytest.mark.usefixtures("float64")
@given(st.integers(0, 10**6), st.sampled_from(SHAPES))
@settings(deadline=None, max_examples=50)
def test_gradient_against_finite_differences(seed, shape):
    a, direction = matrix(seed, shape), matrix(seed + 1, shape)
    step = 1e-6
    up, down = (numpy_effective_rank(a + sign * step * direction) for sign in (1, -1))
    slope = float(jnp.sum(jax.grad(feature_effective_rank)(jnp.asarray(a)) * direction))
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-4, atol=1e-6)
    forward = jax.jvp(feature_effective_rank, (jnp.asarray(a),), (jnp.asarray(direction),))[1]
    np.testing.assert_allclose(forward, slope, rtol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_stays_in_the_span_of_the_features(shape):
    """Below full rank the derivative is that along changes that keep the row and column spaces."""
    a = matrix(3, shape, rank=3)
    u, _, vt = np.linalg.svd(a)
    gradient = np.asarray(jax.grad(feature_effective_rank)(jnp.asarray(a)))
    np.testing.assert_allclose(u[:, :3] @ (u[:, :3].T @ gradient), gradient, atol=1e-10)
    np.testing.assert_allclose(gradient @ vt[:3].T @ vt[:3], gradient, atol=1e-10)
    direction = u[:, :3] @ matrix(4, (3, 3)) @ vt[:3]
    step = 1e-6
    up, down = (numpy_effective_rank(a + sign * step * direction) for sign in (1, -1))
    np.testing.assert_allclose((gradient * direction).sum(), (up - down) / (2 * step), rtol=1e-4)


def degenerate(kind: str) -> np.ndarray:
    a = np.maximum(matrix(0, (20, 12)), 0)
    if kind == "dead":
        a[:, ::2] = 0
    elif kind == "repeated":
        a[:, 6:] = a[:, :6]
    elif kind == "one row":
        a[:] = a[0]
    elif kind == "identity":
        a = np.eye(20, 12)
    elif kind == "zero":
        a[:] = 0
    elif kind == "tiny":
        a *= 1e-30
    return a.astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "rank"),
    [("dead", None), ("repeated", None), ("one row", 1), ("identity", 12), ("zero", 0)]
    + [("tiny", None)],
)
@pytest.mark.parametrize("transpose", [False, True])
def test_degenerate_features(kind, rank, transpose):
    a = degenerate(kind)
    a = jnp.asarray(a.T if transpose else a)
    value, gradient = jax.jit(jax.value_and_grad(feature_effective_rank))(a)
    expected = numpy_effective_rank(np.asarray(a, np.float64)) if rank is None else rank
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    np.testing.assert_allclose(feature_effective_rank(a), expected, rtol=1e-3)
    assert np.isfinite(gradient).all()
    if kind == "dead":
        columns = gradient.T if transpose else gradient
        np.testing.assert_allclose(columns[:, ::2], 0, atol=1e-5)
    if kind == "zero":
        assert not gradient.any()
        assert float(feature_stable_rank(a)) == 0
        assert int(srank99(a)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_no_numbers_have_no_rank(bad):
    """Not 0, which would look like a collapse."""
    a = jnp.asarray(matrix(0, (6, 4)), jnp.float32).at[2, 1].set(bad)
    for measure in (feature_effective_rank, srank99, feature_stable_rank):
        assert np.isnan(measure(a))
    value, gradient = jax.value_and_grad(feature_effective_rank)(a)
    assert np.isnan(value)
    assert np.isnan(gradient).all()


def test_scale_does_not_matter():
    a = jnp.asarray(matrix(1, (6, 4)), jnp.float32)
    np.testing.assert_allclose(feature_effective_rank(8 * a), feature_effective_rank(a), rtol=1e-6)
    slope = jnp.sum(jax.grad(feature_effective_rank)(a) * a)
    np.testing.assert_allclose(slope, 0, atol=1e-5)


def test_float32_gradient_keeps_its_digits():
    a = np.maximum(matrix(2, (40, 60)), 0)
    single = np.asarray(jax.grad(feature_effective_rank)(jnp.asarray(a, jnp.float32)))
    with jax.enable_x64(True):
        double = np.asarray(jax.grad(feature_effective_rank)(jnp.asarray(a)))
    error = np.linalg.norm(single - double) / np.linalg.norm(double)
    assert error < 2e-5
