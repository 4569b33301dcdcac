"""The ranks of features and the gradient of the effective rank against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spectral.models import feature_effective_rank, feature_stable_rank, srank99


SHAPES = [(5, 9), (9, 5)]


@jax.jit
def measured(a):
    """One program per shape: the three ranks and the gradient of the first."""
    rank, gradient = jax.value_and_grad(feature_effective_rank)(a)
    return rank, gradient, feature_effective_rank(a), feature_stable_rank(a), srank99(a)


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


def slope(a: np.ndarray, direction: np.ndarray) -> float:
    """The directional derivative by finite differences."""
    step = 1e-6
    up, down = (numpy_effective_rank(a + sign * step * direction) for sign in (1, -1))
    return (up - down) / (2 * step)


@pytest.mark.usefixtures("float64")
@given(st.integers(0, 10**6), st.sampled_from(SHAPES))
@settings(deadline=None, max_examples=30)
def test_values_and_gradient_match_numpy(seed, shape):
    a, direction = matrix(seed, shape), matrix(seed + 1, shape)
    s = np.linalg.svd(a, compute_uv=False)
    rank, gradient, again, stable, srank = measured(a)
    np.testing.assert_allclose([rank, again], numpy_effective_rank(a), rtol=1e-10)
    np.testing.assert_allclose(stable, (s**2).sum() / s[0] ** 2, rtol=1e-10)
    assert int(srank) == next(k for k in range(1, 10) if s[:k].sum() >= 0.99 * s.sum())
    found = (np.asarray(gradient) * direction).sum()
    np.testing.assert_allclose(found, slope(a, direction), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_forward_mode_is_the_same_derivative():
    a, direction = (jnp.asarray(matrix(seed, SHAPES[0])) for seed in (0, 1))
    forward = jax.jit(lambda a, v: jax.jvp(feature_effective_rank, (a,), (v,))[1])(a, direction)
    np.testing.assert_allclose(forward, slope(np.asarray(a), np.asarray(direction)), rtol=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_stays_in_the_span_of_the_features(shape):
    """Below full rank the gradient describes changes that keep the row and column spaces."""
    a = matrix(3, shape, rank=3)
    u, _, vt = np.linalg.svd(a)
    gradient = np.asarray(measured(a)[1])
    np.testing.assert_allclose(u[:, :3] @ (u[:, :3].T @ gradient), gradient, atol=1e-10)
    np.testing.assert_allclose(gradient @ vt[:3].T @ vt[:3], gradient, atol=1e-10)
    direction = u[:, :3] @ matrix(4, (3, 3)) @ vt[:3]
    np.testing.assert_allclose((gradient * direction).sum(), slope(a, direction), rtol=1e-4)


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
@pytest.mark.parametrize("transpose", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_degenerate_features(kind, rank, transpose):
    a = degenerate(kind).T if transpose else degenerate(kind)
    value, gradient, again, stable, srank = map(np.asarray, measured(a))
    expected = numpy_effective_rank(np.asarray(a, np.float64)) if rank is None else rank
    np.testing.assert_allclose([value, again], expected, rtol=1e-3)
    assert np.isfinite(gradient).all()
    if kind == "dead":
        columns = gradient.T if transpose else gradient
        np.testing.assert_allclose(columns[:, ::2], 0, atol=1e-5)
    if kind == "zero":
        assert not gradient.any()
        assert (stable, srank) == (0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_features_have_no_rank(bad):
    """A rank of 0 would look like a collapse."""
    a = degenerate("dead")
    a[2, 1] = bad
    assert all(np.isnan(np.asarray(found)).all() for found in measured(a))


def test_ranks_do_not_depend_on_the_scale():
    a = degenerate("full")
    rank, gradient, *_ = measured(a)
    np.testing.assert_allclose(measured(8 * a)[0], rank, rtol=1e-6)
    np.testing.assert_allclose((np.asarray(gradient) * a).sum(), 0, atol=1e-5)
    # Features of float32 whose squares are zero or infinite.
    for power in (-100, 100):
        scaled, derivative, *others = measured(np.ldexp(a.astype(np.float32), power))
        np.testing.assert_allclose([scaled, *others], [rank, *measured(a)[2:]], rtol=1e-5)
        np.testing.assert_allclose(np.ldexp(derivative, power), gradient, rtol=1e-3, atol=1e-5)


def test_float32_gradient_keeps_its_digits():
    a = np.maximum(matrix(2, (40, 60)), 0)
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    log_p = np.log(s / s.sum())
    slopes = -numpy_effective_rank(a) * (log_p - (s / s.sum() * log_p).sum()) / s.sum()
    expected = (u * slopes) @ vt
    single = jax.jit(jax.grad(feature_effective_rank))(a.astype(np.float32))
    assert np.linalg.norm(single - expected) / np.linalg.norm(expected) < 2e-5
