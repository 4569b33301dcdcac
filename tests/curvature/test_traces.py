"""Traces and diagonals by random products, against dense matrices in randomly rotated bases."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from spectral.curvature import (
    Function,
    Hutchinson,
    HutchinsonDiagonal,
    Matrix,
    XDiagonal,
    XNysDiagonal,
    XNysTrace,
    XTrace,
)


DIM, SAMPLES = 30, 8
INDEFINITE = np.r_[-8.0, -1.0, np.linspace(-0.3, 0.3, 26), 6.0, 20.0]
DEFINITE = np.r_[np.geomspace(1e-3, 1.0, 28), 6.0, 20.0]


def rotated(eigenvalues):
    rng = np.random.default_rng(3)
    vectors = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
    return (vectors * eigenvalues) @ vectors.T


ANY = [Hutchinson, XTrace, HutchinsonDiagonal, XDiagonal]
SEMI_DEFINITE = [XNysTrace, XNysDiagonal]
ALL = [(kind, INDEFINITE) for kind in ANY] + [(kind, DEFINITE) for kind in SEMI_DEFINITE]


def truth_of(kind, matrix):
    return np.trace(matrix) if kind in (Hutchinson, XTrace, XNysTrace) else np.diag(matrix)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("kind", "eigenvalues"), ALL)
def test_estimates_scatter_about_the_truth_as_they_say(kind, eigenvalues, getkey):
    matrix = rotated(eigenvalues)
    estimator, seeds = kind(num_samples=SAMPLES), 300
    keys = jax.random.split(getkey(), seeds)
    estimate = eqx.filter_vmap(lambda key: estimator(Matrix(matrix), key=key))(keys)
    truth = truth_of(kind, matrix)
    value, sem = np.asarray(estimate.value), np.asarray(estimate.sem)
    truth = np.broadcast_to(truth, value.shape)
    # No bias.
    error = np.std(value, axis=0) / seeds**0.5
    assert (np.abs(np.mean(value - truth, axis=0)) < 4.5 * error).all()
    # The standard errors are those of independent samples, or the heuristic of leaving one out.
    half = scipy.stats.t.ppf(0.975, SAMPLES - 1) * sem
    covered = np.mean(np.abs(value - truth) <= half)
    assert covered > (0.7 if kind is XNysTrace else 0.85)
    spread = np.sqrt(np.mean(np.var(value, axis=0)))
    stated = np.sqrt(np.mean(sem**2))
    if kind in (Hutchinson, HutchinsonDiagonal):
        np.testing.assert_allclose(stated, spread, rtol=0.15)
    else:
        assert 0.5 < stated / spread < 1.15
        # And far more accurate than Hutchinson's, whose spread is known: 2 (|A|_F^2 - |diag|^2).
        variance = np.linalg.norm(matrix) ** 2 - np.linalg.norm(np.diag(matrix)) ** 2
        independent = variance / SAMPLES * (2 if np.ndim(truth_of(kind, matrix)) == 0 else 1 / DIM)
        assert spread < 0.2 * independent**0.5


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", [XTrace, XDiagonal, XNysTrace, XNysDiagonal])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e8])
def test_low_rank_is_exact_at_every_scale(kind, scale, getkey):
    matrix = scale * rotated(np.r_[np.zeros(DIM - 3), 1.0, 5.0, 9.0])
    estimate = kind(num_samples=SAMPLES)(Matrix(matrix), key=getkey())
    truth = truth_of(kind, matrix)
    np.testing.assert_allclose(estimate.value, truth, rtol=1e-6, atol=1e-9 * scale)
    assert np.max(estimate.sem) <= 1e-7 * scale


def test_small_eigenvalues_count_in_single_precision(getkey):
    matrix = 1e-9 * rotated(np.linspace(1, 3, DIM))
    estimate = XTrace(num_samples=SAMPLES)(Matrix(jnp.asarray(matrix, jnp.float32)), key=getkey())
    assert abs(estimate.value - np.trace(matrix)) < 4 * estimate.sem
    assert estimate.sem < 0.1 * np.trace(matrix)


@pytest.mark.parametrize(
    ("kind", "samples"),
    [(XTrace, DIM // 2), (XDiagonal, DIM), (XNysTrace, DIM), (XNysDiagonal, DIM + 5)],
)
def test_enough_products_give_the_diagonal_itself(kind, samples, getkey):
    matrix = rotated(DEFINITE)
    estimate = kind(num_samples=samples)(Matrix(matrix), key=getkey())
    np.testing.assert_allclose(estimate.value, truth_of(kind, matrix), rtol=1e-5)
    assert (np.asarray(estimate.sem) == 0).all()


class TwoArrays(eqx.Module):
    matrix: jax.Array

    def __call__(self, vector):
        product = self.matrix @ jnp.concatenate([vector["a"].ravel(), vector["b"]])
        return {"a": product[:24].reshape(4, 6), "b": product[24:]}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", [HutchinsonDiagonal, XDiagonal, XNysDiagonal])
def test_diagonals_are_like_the_parameters(kind, getkey):
    matrix = rotated(DEFINITE)
    operator = Function(TwoArrays(jnp.asarray(matrix)), {"a": jnp.zeros((4, 6)), "b": jnp.zeros(6)})
    key = getkey()
    estimate = kind(num_samples=SAMPLES)(operator, key=key)
    flat = kind(num_samples=SAMPLES)(Matrix(matrix), key=key)
    for got, expected in ((estimate.value, flat.value), (estimate.sem, flat.sem)):
        assert got["a"].shape == (4, 6)
        joined = np.concatenate([got["a"].ravel(), got["b"]])
        np.testing.assert_allclose(joined, expected, rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", [*ANY, *SEMI_DEFINITE])
def test_a_matrix_that_is_not_finite_shows(kind, getkey):
    operator = Matrix(jnp.full((DIM, DIM), jnp.nan))
    assert np.isnan(kind(num_samples=SAMPLES)(operator, key=getkey()).value).all()


@pytest.mark.parametrize("kind", [*ANY, *SEMI_DEFINITE])
@pytest.mark.parametrize("bad", [1, 0])
def test_sample_counts_that_are_refused(kind, bad):
    with pytest.raises(
        ValueError, match=f"`num_samples` is {bad}, but must be an integer of at least"
    ):
        kind(num_samples=bad)
