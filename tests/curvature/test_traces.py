"""Traces and diagonals by random products, against dense matrices in randomly rotated bases."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from curvature_cases import rotated
from programs import equations

from spectral.curvature import (
    Function,
    Hutchinson,
    HutchinsonDiagonal,
    HutchPlusPlus,
    Matrix,
    XDiagonal,
    XNysDiagonal,
    XNysTrace,
    XTrace,
)


DIM, SAMPLES, SEEDS = 20, 8, 200
INDEFINITE = np.r_[-8.0, -1.0, np.linspace(-0.3, 0.3, DIM - 4), 6.0, 20.0]
DEFINITE = np.r_[np.geomspace(1e-3, 1.0, DIM - 2), 6.0, 20.0]
LOW_RANK = np.r_[np.zeros(DIM - 3), 1.0, 5.0, 9.0]
SCALES = 0.0, 1e-160, 1e-20, 1.0, 1e8, 1e160
POWERS = -530, -100, 100, 510

ANY = [Hutchinson, XTrace, HutchinsonDiagonal, XDiagonal, HutchPlusPlus]
SEMI_DEFINITE = [XNysTrace, XNysDiagonal]
DIAGONALS = [HutchinsonDiagonal, XDiagonal, XNysDiagonal]


def truth_of(kind, array):
    return np.diag(array) if kind in DIAGONALS else np.trace(array)


def hard(kind):
    return rotated(DEFINITE if kind in SEMI_DEFINITE else INDEFINITE)


@eqx.filter_jit
def estimates(estimator, arrays, which, keys):
    one = lambda i, key: estimator(Matrix(arrays[i]), key=key)
    return jax.vmap(one)(which, keys)


@functools.cache
def found(kind):
    """Estimates of a hard matrix from many seeds, and from the first seed in other units; of one of
    low rank at several scales; and of NaN. One program computes them all."""
    arrays = [hard(kind), *(scale * rotated(LOW_RANK) for scale in SCALES)]
    arrays.append(np.full((DIM, DIM), np.nan))
    arrays += [np.ldexp(hard(kind), power) for power in POWERS]
    which = np.r_[np.zeros(SEEDS, int), np.arange(1, len(arrays))]
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), len(which))
        keys = keys.at[-len(POWERS) :].set(keys[0])
        estimator = kind(num_samples=SAMPLES)
        result = estimates(estimator, jnp.asarray(np.stack(arrays)), jnp.asarray(which), keys)
    return jax.tree.map(np.asarray, result)


KINDS = [
    pytest.param(kind, marks=pytest.mark.slow if kind in (XDiagonal, XNysTrace) else ())
    for kind in (*ANY, *SEMI_DEFINITE)
]


@pytest.mark.parametrize("kind", KINDS)
def test_estimates_scatter_about_the_truth(kind):
    array = hard(kind)
    value, sem = found(kind).value[:SEEDS], found(kind).sem[:SEEDS]
    truth = np.broadcast_to(truth_of(kind, array), value.shape)
    # No bias.
    error = np.std(value, axis=0) / SEEDS**0.5
    assert (np.abs(np.mean(value - truth, axis=0)) < 4.5 * error).all()
    # The standard errors are those of independent samples, or the heuristic of leaving one out.
    half = scipy.stats.t.ppf(0.975, SAMPLES - 1) * sem
    covered = np.mean(np.abs(value - truth) <= half)
    assert covered > (0.7 if kind is XNysTrace else 0.85)
    spread = np.sqrt(np.mean(np.var(value, axis=0)))
    stated = np.sqrt(np.mean(sem**2))
    if kind in (Hutchinson, HutchinsonDiagonal, HutchPlusPlus):
        np.testing.assert_allclose(stated, spread, rtol=0.15)
    if kind not in (Hutchinson, HutchinsonDiagonal):
        assert 0.5 < stated / spread < 1.15
        # And far more accurate than Hutchinson's, whose spread is known: 2 (|A|_F^2 - |diag|^2).
        variance = np.linalg.norm(array) ** 2 - np.linalg.norm(np.diag(array)) ** 2
        independent = variance / SAMPLES * (1 / DIM if kind in DIAGONALS else 2)
        assert spread < 0.2 * independent**0.5


@pytest.mark.parametrize("kind", KINDS[1:2] + KINDS[3:])
@pytest.mark.parametrize("index", range(len(SCALES)), ids=SCALES)
def test_low_rank_is_exact_at_every_scale(kind, index):
    scale = SCALES[index]
    value, sem = found(kind).value[SEEDS + index], found(kind).sem[SEEDS + index]
    truth = truth_of(kind, scale * rotated(LOW_RANK))
    np.testing.assert_allclose(value, truth, rtol=1e-6, atol=1e-9 * scale)
    assert np.max(sem) <= 1e-7 * scale


@pytest.mark.parametrize("kind", KINDS)
def test_nan(kind):
    assert np.isnan(found(kind).value[-1 - len(POWERS)]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_power_of_two_changes_no_digit(kind):
    for index, power in enumerate(POWERS, start=-len(POWERS)):
        for own in (found(kind).value, found(kind).sem):
            np.testing.assert_array_equal(own[index], np.ldexp(own[0], power))


@pytest.mark.slow
def test_small_eigenvalues_count_in_single_precision(getkey):
    array = 1e-9 * rotated(np.linspace(1, 3, DIM))
    estimate = XTrace(num_samples=SAMPLES)(Matrix(jnp.asarray(array, jnp.float32)), key=getkey())
    assert abs(estimate.value - np.trace(array)) < 4 * estimate.sem
    assert estimate.sem < 0.1 * np.trace(array)


@pytest.mark.parametrize(
    ("kind", "num_samples"),
    [
        (XTrace, DIM // 2),
        (XDiagonal, DIM // 2),
        (XNysTrace, DIM),
        (XNysDiagonal, DIM),
        pytest.param(HutchPlusPlus, DIM, marks=pytest.mark.slow),
    ],
)
def test_enough_products_give_the_diagonal_itself(kind, num_samples, getkey):
    array = rotated(DEFINITE)
    estimate = kind(num_samples=num_samples)(Matrix(array), key=getkey())
    np.testing.assert_allclose(estimate.value, truth_of(kind, array), rtol=1e-5)
    assert (np.asarray(estimate.sem) == 0).all()


@pytest.mark.parametrize(
    ("kind", "num_samples"),
    [(XTrace, 9), (XDiagonal, 9), (XNysTrace, 19), (XNysDiagonal, 19), (HutchPlusPlus, 19)],
)
def test_fewer_products_give_an_estimate(kind, num_samples):
    """They are traced and not run: an estimate is a mean over samples, with a decomposition."""
    estimate = lambda array, key: kind(num_samples=num_samples)(Matrix(array), key=key)
    array = jnp.asarray(np.eye(DIM, dtype=np.float32))
    found = equations(jax.make_jaxpr(estimate)(array, jax.random.key(0)).jaxpr)
    assert {"qr", "cholesky", "eigh"} & {eqn.primitive.name for eqn in found}


class TwoArrays(eqx.Module):
    matrix: jax.Array

    def __call__(self, vector):
        product = self.matrix @ jnp.concatenate([vector["a"].ravel(), vector["b"]])
        return {"a": product[:15].reshape(3, 5), "b": product[15:]}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "kind",
    [HutchinsonDiagonal, *(pytest.param(k, marks=pytest.mark.slow) for k in DIAGONALS[1:])],
)
def test_diagonals_are_like_the_parameters(kind):
    like = {"a": jax.ShapeDtypeStruct((3, 5), float), "b": jax.ShapeDtypeStruct((5,), float)}
    operator = Function(TwoArrays(jnp.asarray(hard(kind))), like)
    keys = jax.random.split(jax.random.key(0), SEEDS + 5)
    estimate = kind(num_samples=SAMPLES)(operator, key=keys[0])
    for got, expected in (
        (estimate.value, found(kind).value[0]),
        (estimate.sem, found(kind).sem[0]),
    ):
        assert got["a"].shape == (3, 5)
        joined = np.concatenate([np.ravel(got["a"]), got["b"]])
        np.testing.assert_allclose(joined, expected, rtol=1e-9)


def test_defaults():
    assert (Hutchinson().num_samples, HutchinsonDiagonal().num_samples) == (100, 100)
    assert {
        k().num_samples for k in (XTrace, XDiagonal, XNysTrace, XNysDiagonal, HutchPlusPlus)
    } == {20}


@pytest.mark.parametrize("kind", [*ANY, *SEMI_DEFINITE])
@pytest.mark.parametrize("bad", [1, 0])
def test_bad_sample_counts(kind, bad):
    with pytest.raises(
        ValueError, match=f"`num_samples` is {bad}, but must be an integer of at least"
    ):
        kind(num_samples=bad)
