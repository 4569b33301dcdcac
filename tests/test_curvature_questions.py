"""Questions asked of a spectrum: `epsilon_rank` and `density`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.tree_util import Partial

from spectral.curvature import (
    density,
    epsilon_rank,
    Hessian,
    Lanczos,
    Spectrum,
    sphere_probe,
)


def half_quadratic(matrix, x):
    return x @ matrix @ x / 2


def quadratic(eigenvalues):
    rng = np.random.default_rng(len(eigenvalues))
    vectors = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
    matrix = jnp.asarray((vectors * eigenvalues) @ vectors.T)
    return Hessian(Partial(half_quadratic, matrix), jnp.zeros(len(eigenvalues))), vectors


def spectrum_of(nodes, weights, *, exhausted=False, tolerance=0.0, dim=100):
    """By hand, with the same nodes for each row of weights."""
    weights = jnp.asarray(weights)
    probes, order = weights.shape
    return Spectrum(
        nodes=jnp.broadcast_to(jnp.asarray(nodes), weights.shape),
        weights=weights,
        residuals=jnp.zeros((probes, order)),
        diagonal=jnp.zeros((probes, order)),
        off_diagonal=jnp.zeros((probes, order - 1)),
        exhausted=jnp.full(probes, exhausted),
        tolerance=jnp.full(probes, tolerance),
        dim=dim,
    )


NODES = [-3.0, -1.0, 0.25, 0.5, 2.0]
WEIGHTS = [[0.10, 0.20, 0.30, 0.25, 0.15]]


@pytest.mark.parametrize(
    ("epsilon", "options", "lower", "value", "upper"),
    [
        (1.5, {}, 0, 25, 70),  # above 2.0: 0 to .40; below -3: 0 to .30
        (0.3, {}, 25, 70, 100),  # .15 to .70; .10 to .60
        (0.1, {}, 50, 100, 100),  # .40 to 1; .10 to .60: no more than everything
        (4.0, {}, 0, 0, 25),  # .15 and .10 may belong beyond the last nodes
        (0.3, {"exhausted": True}, 70, 70, 70),
        (0.5, {"exhausted": True}, 45, 45, 45),  # strictly above epsilon
        (0.5, {"exhausted": True, "tolerance": 0.01}, 45, 45, 70),
        (0.49, {"exhausted": True, "tolerance": 0.02}, 45, 70, 70),
    ],
)
def test_bounds_by_hand(epsilon, options, lower, value, upper):
    rank = jax.jit(epsilon_rank)(spectrum_of(NODES, WEIGHTS, **options), epsilon)
    np.testing.assert_allclose(
        [rank.lower, rank.value, rank.upper], [lower, value, upper], rtol=1e-6, atol=1e-5
    )
    assert np.isnan(rank.sem)
    assert rank.resolved == (upper - lower <= 10)


def test_probes_are_averaged_and_their_error_stated():
    weights = [[0.2, 0.8], [0.3, 0.7], [0.7, 0.3]]
    rank = epsilon_rank(spectrum_of([0.0, 5.0], weights, exhausted=True), 1)
    np.testing.assert_allclose(rank.value, 60, rtol=1e-6)
    np.testing.assert_allclose(rank.lower, 60, rtol=1e-6)
    np.testing.assert_allclose(rank.sem, scipy.stats.sem([80, 70, 30]), rtol=1e-6)


def test_a_small_rank_of_a_large_matrix_keeps_its_digits():
    weights = [[1e-8, 1 - 4e-8, 3e-8]]
    spectrum = spectrum_of([-5.0, 0.0, 5.0], weights, exhausted=True, dim=10**8)
    np.testing.assert_allclose(epsilon_rank(spectrum, 0.1).value, 4, rtol=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "eigenvalues",
    [
        np.r_[-6, -3, np.linspace(-0.5, 1.5, 36), 30, 31],
        np.r_[np.geomspace(1e-4, 10, 30), np.zeros(10)],
        np.linspace(-1, 1, 40) ** 3,
    ],
)
def test_the_bracket_holds_the_measure_of_every_probe(eigenvalues, getkey):
    operator, vectors = quadratic(eigenvalues)
    epsilons = jnp.array([1e-3, 0.03, 0.1, 0.3, 0.8, 1.2, 5.0])
    keys = jax.random.split(getkey(), 100)

    @eqx.filter_jit
    def ranks(order):
        def one(key):
            spectrum = Lanczos(order=order, probes=1)(operator, key=key)
            return jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, epsilons)

        return jax.vmap(one)(keys)

    starts = jax.vmap(lambda key: sphere_probe(key, 0, 40, float))(keys)
    beyond = np.abs(eigenvalues)[:, None] > np.asarray(epsilons)[None]
    truth = 40 * (np.asarray(starts @ vectors) ** 2) @ beyond
    widths = []
    for order in (5, 12):
        rank = ranks(order)
        assert (rank.lower <= truth + 1e-9).all()
        assert (rank.upper >= truth - 1e-9).all()
        assert (rank.lower <= rank.value).all()
        assert (rank.value <= rank.upper).all()
        # Monotone in epsilon, bounds and all.
        for field in (rank.value, rank.lower, rank.upper):
            assert (np.diff(field, axis=1) <= 1e-9).all()
        widths.append(np.mean(rank.upper - rank.lower))
    assert widths[0] > widths[1] > 0


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**15])
def test_scaling_the_matrix_and_epsilon_changes_nothing(scale, getkey):
    eigenvalues = np.r_[-6, -3, np.linspace(-0.5, 1.5, 36), 30, 31]
    key = getkey()
    results = []
    for c in (1, scale):
        spectrum = Lanczos(order=15)(quadratic(c * eigenvalues)[0], key=key)
        rank = jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, c * jnp.array([0.1, 2, 10]))
        results.append(np.stack(jax.tree.leaves(rank)))
    np.testing.assert_allclose(*results, rtol=1e-4)


@pytest.mark.usefixtures("float64")
def test_the_interval_over_probes_covers_at_its_nominal_rate(getkey):
    eigenvalues = np.r_[np.linspace(1, 4, 18), np.zeros(22)]
    operator, _ = quadratic(eigenvalues)
    probes, seeds = 8, 200
    estimate = eqx.filter_jit(
        jax.vmap(lambda k: epsilon_rank(Lanczos(order=40, probes=probes)(operator, key=k), 0.5))
    )
    rank = estimate(jax.random.split(getkey(), seeds))
    assert rank.resolved.all()
    half = scipy.stats.t.ppf(0.975, probes - 1) * rank.sem
    covered = np.sum(np.abs(rank.value - 18) <= half)
    low, high = scipy.stats.binom.ppf([0.001, 0.999], seeds, 0.95)
    assert low <= covered <= high
    # And the estimate is not biased.
    error = np.std(rank.value) / seeds**0.5
    assert abs(np.mean(rank.value) - 18) < 4 * error


@pytest.mark.parametrize("bad", [0, -0.1, float("nan"), float("inf")])
def test_numbers_that_are_refused(bad):
    spectrum = spectrum_of(NODES, WEIGHTS)
    with pytest.raises(ValueError, match="`epsilon` is .* finite and above 0"):
        epsilon_rank(spectrum, bad)
    with pytest.raises(ValueError, match="`width` is .* finite and above 0"):
        density(spectrum, jnp.zeros(2), width=bad)


def test_density_is_a_mixture_of_gaussians_of_the_stated_width():
    grid = jnp.linspace(-5, 5, 2001)
    one = density(spectrum_of([1.0], [[1.0]]), grid, width=0.5)
    np.testing.assert_allclose(one, scipy.stats.norm.pdf(grid, 1, 0.5), rtol=1e-4, atol=1e-6)

    weights = [[0.10, 0.20, 0.30, 0.25, 0.15], [0.0, 0.0, 0.9, 0.1, 0.0]]
    curve = density(spectrum_of(NODES, weights), grid, width=jnp.array(0.3))
    assert curve.shape == grid.shape
    np.testing.assert_allclose(np.trapezoid(curve, grid), 1, rtol=1e-3)
    mean = np.mean(np.asarray(weights), axis=0) @ np.asarray(NODES)
    np.testing.assert_allclose(np.trapezoid(grid * curve, grid), mean, rtol=1e-2)
