"""Over many seeds: bounds hold for every vector, and intervals cover as often as they should."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from spectral.curvature import (
    Deflated,
    epsilon_rank,
    Lanczos,
    Matrix,
    Normal,
    Rademacher,
    Sphere,
    vector_key,
)


SEEDS, NUM_VECTORS, DIM = 200, 8, 40
EPSILONS = np.array([1e-3, 0.03, 0.1, 0.3, 0.5, 0.8, 1.2, 5.0])
SPECTRA = {
    "outliers": np.r_[-6, -3, np.linspace(-0.5, 1.5, 36), 30, 31],
    "decades": np.r_[np.geomspace(1e-4, 10, 30), np.zeros(10)],
    "both sides": np.linspace(-1, 1, 40) ** 3,
}
GAP = np.r_[100, 50, np.linspace(1, 4, 16), np.zeros(22)]
VECTORS = np.linalg.qr(np.random.default_rng(DIM).normal(size=(DIM, DIM)))[0]


def matrix(eigenvalues):
    return Matrix(jnp.asarray((VECTORS * eigenvalues) @ VECTORS.T))


@eqx.filter_jit
def over_seeds(estimator, operator, keys):
    """For each key the spectrum, what its vectors see beyond each epsilon, and the ranks."""

    def one(key):
        spectrum = estimator(operator, key=key)
        at = lambda e: (spectrum.mass_above(e), spectrum.mass_below(-e), epsilon_rank(spectrum, e))
        return spectrum, *jax.vmap(at)(jnp.asarray(EPSILONS))

    return eqx.filter_vmap(one)(keys)


def seen(distribution, keys):
    """What each vector of each key sees of each eigenvector: `[seeds, vectors, dim]`."""
    draw = lambda key, i: distribution(DIM, float, key=vector_key(key, i))
    starts = jax.vmap(jax.vmap(draw, in_axes=(None, 0)), in_axes=(0, None))(
        keys, jnp.arange(NUM_VECTORS)
    )
    return (np.asarray(starts) @ VECTORS) ** 2


def check_bounds(mass, weights, beyond):
    """Bounds `[seeds, epsilons, vectors]` of the weight of the eigenvalues beyond each epsilon."""
    truth = np.moveaxis(weights @ beyond, -1, 1)
    assert (mass.lower <= truth + 1e-9).all()
    assert (mass.upper >= truth - 1e-9).all()
    assert (mass.lower <= mass.value).all()
    assert (mass.value <= mass.upper).all()


def check_monotone(rank):
    for field in (rank.value, rank.lower, rank.upper):
        assert (np.diff(field, axis=1) <= 1e-9).all()


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "distribution", [Sphere(), Normal(), Rademacher()], ids=["s", "n", "signs"]
)
def test_bounds_hold_for_every_vector_and_intervals_cover(distribution, getkey):
    keys = jax.random.split(getkey(), SEEDS)
    weights = seen(distribution, keys)
    estimator = Lanczos(order=12, num_vectors=NUM_VECTORS, distribution=distribution)
    for eigenvalues in SPECTRA.values():
        _, above, below, rank = over_seeds(estimator, matrix(eigenvalues), keys)
        check_bounds(above, weights, eigenvalues[:, None] > EPSILONS)
        check_bounds(below, weights, eigenvalues[:, None] < -EPSILONS)
        check_monotone(rank)
        assert np.mean(rank.upper - rank.lower) > 1  # there is something to bound
        # The interval covers the count at every threshold, and is of use.
        truth = np.sum(np.abs(eigenvalues[:, None]) > EPSILONS, axis=0)
        low, high = np.asarray(rank.low), np.asarray(rank.high)
        covered = (low <= truth + 1e-6) & (truth - 1e-6 <= high)
        assert (covered.mean(axis=0) >= 0.93).all()
        assert np.median(high - low) < 0.9 * DIM
    rank = jax.tree.map(lambda x: x[:, 4], over_seeds(estimator, matrix(GAP), keys)[3])
    # The count of r of dim eigenvalues has a known variance.
    sphere = 2 * 18 * (1 - 18 / DIM) * DIM / (DIM + 2)
    check_interval(rank, 2 * 18 if isinstance(distribution, Normal) else sphere)


def check_interval(rank, variance):
    """The count of 18 from one vector has this variance."""
    half = scipy.stats.t.ppf(0.975, NUM_VECTORS - 1) * rank.sem
    covered = np.sum(np.abs(rank.value - 18) <= half)
    # Of 200 intervals of 95 %, 179 to 198 cover, except in 2 of 1000 cases.
    low, high = scipy.stats.binom.ppf([0.001, 0.999], SEEDS, 0.95)
    assert low <= covered <= high
    # The estimate has no bias.
    assert abs(np.mean(rank.value) - 18) < 4 * np.std(rank.value) / SEEDS**0.5
    np.testing.assert_allclose(np.std(rank.value), (variance / NUM_VECTORS) ** 0.5, rtol=0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_bounds_and_intervals_of_deflated(getkey):
    keys = jax.random.split(getkey(), SEEDS)
    weights = seen(Sphere(), keys)
    estimator = Deflated(order=12, num_vectors=NUM_VECTORS, deflation_order=10, accuracy=1e-6)
    counts = set()
    for eigenvalues in (SPECTRA["outliers"], SPECTRA["both sides"]):
        spectrum, above, below, rank = over_seeds(estimator, matrix(eigenvalues), keys)
        # Which eigenvectors were removed, by the nearest eigenvalue.
        left = np.ones((SEEDS, DIM), bool)
        for seed in range(SEEDS):
            for value in spectrum.values[seed][spectrum.known[seed]]:
                left[seed, np.argmin(np.abs(eigenvalues - float(value)))] = False
        count = left.sum(axis=1)
        np.testing.assert_array_equal(count, DIM - np.sum(spectrum.known, axis=1))
        counts |= set(count.tolist())
        rest = weights * left[:, None]
        rest *= count[:, None, None] / rest.sum(axis=2, keepdims=True)
        whole = np.where(left[:, None], rest, 1) / DIM
        check_bounds(above, whole, eigenvalues[:, None] > EPSILONS)
        check_bounds(below, whole, eigenvalues[:, None] < -EPSILONS)
        check_monotone(rank)
    assert len(counts) > 2  # how many are removed depends on the data
    spectrum, *_, rank = over_seeds(estimator, matrix(GAP), keys)
    assert (np.sum(spectrum.known, axis=1) == 2).all()
    # Two are counted without error, and 16 of 38 estimated.
    check_interval(jax.tree.map(lambda x: x[:, 4], rank), 2 * 16 * (1 - 16 / 38) * 38 / 40)
