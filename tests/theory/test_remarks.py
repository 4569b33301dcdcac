"""Remarks of the paper that come without a proof: which hold, and where the others fail."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from theory_jacobians import pairs_of, two_layer_hessian
from theory_networks import network, numerical_rank, with_weights
from theory_profile import broken, COUNTS, Tally, tried

from spectral import models, theory
from spectral.theory import strategies


pytestmark = pytest.mark.usefixtures("float64")


def shifts_on_a_line(rng, num_examples, draws=4000):
    """Directed distances between two sets of points, uniform on the interval from -1 to 1."""
    old, new = rng.uniform(-1, 1, size=(2, draws, num_examples))
    return np.abs(new[:, :, None] - old[:, None]).min(axis=2).max(axis=1)


def test_persistence_does_not_grow_with_the_sample_size():
    """Remark 6.6: new points must also be near old ones, and there are more of them. Only with
    many old points everything is near."""
    rng = np.random.default_rng(0)
    found = {
        n: theory.proportion(int(np.sum(shifts_on_a_line(rng, n) <= 0.1)), 4000)
        for n in (1, 2, 5, 30)
    }
    assert found[1].lower > found[2].upper
    assert found[2].lower > found[5].upper
    assert found[30].lower > found[1].upper
    # One point each: the distance of two uniform numbers has a triangular density.
    assert found[1].lower < 1 - 0.95**2 < found[1].upper


def test_the_bound_of_theorem_6_5_is_loose_near_its_hypothesis():
    """Remark 6.6: "tighter when E[S] - m is small". The slack of Cantelli's inequality grows as
    the difference falls, also for independent indicators, of which the exact tail is known."""
    p = np.full(20, 0.5)
    most = range(1, 10)
    bounds = np.array([theory.cantelli_independent(p, m, num_units=20) for m in most])
    slack = bounds - scipy.stats.binom.cdf(list(most), 20, 0.5)
    assert np.all(np.diff(slack) > 0)
    assert slack[0] < 0.06
    assert slack[-1] > 0.4
    # "or when the variance of S is small" holds.
    certain = [theory.cantelli_independent(np.full(20, q), 9, num_units=20) for q in (0.5, 0.9, 1)]
    assert certain[0] > 0.8
    assert certain[1] < 0.03
    assert certain[2] == 0


@COUNTS
def test_equation_1_and_dead_units_on_more_inputs(count):
    """The event of tau-trainability lies in the event of few dead units, so the same holds for
    fractions over any seeds. Appendix E: a unit that is dead on more inputs is dead on some of
    them, so the number of dead units falls with the classes on which it is counted, without any
    training."""
    tally = Tally()

    @tried(count, strategies.relu_networks(), strategies.inputs(), strategies.targets())
    def holds(model, inputs, targets):
        pairs, x = pairs_of(model), np.asarray(inputs)
        hessian = two_layer_hessian(pairs, x, np.asarray(targets))
        silent = x @ pairs[0][0].T + pairs[0][1] <= 0
        dead = int(np.sum(np.all(silent, axis=0)))
        rank = numerical_rank(hessian)
        thresholds = np.arange(len(hessian) + 1)
        most = (len(hessian) - thresholds) / (2 + 2 + 1)
        assert not np.any(theory.tau_trainable(rank, thresholds) & (dead > most))
        few = int(np.sum(np.all(silent[:2], axis=0)))
        assert dead <= few
        tally.add(few, dead < few)

    tally.at_least(0.5, 0.15)


def test_equation_1_needs_units_that_are_dead():
    @broken(strategies.relu_networks(), strategies.inputs(), strategies.targets())
    def holds(model, inputs, targets):
        pairs, x = pairs_of(model), np.asarray(inputs)
        rank = numerical_rank(two_layer_hessian(pairs, x, np.asarray(targets)))
        rarely = int(np.sum(np.mean(x @ pairs[0][0].T + pairs[0][1] > 0, axis=0) <= 0.4))
        assert rarely <= (22 - rank) / 5


def test_bounded_targets_do_not_bound_the_residual_of_squared_error():
    """Remark B.5: the gradient of squared error is bounded only with the outputs."""
    one = jnp.asarray(np.ones((1, 1)))
    template = network(models.MLP, 1, 1, width=1, depth=1)
    for size in (1.0, 10.0):
        layer = np.full((1, 1), size), np.zeros(1)
        model = with_weights(template, [layer, layer])
        # z = v relu(w x), and the target is 0.
        norm = theory.two_layer_residual(model, one, one * size**2).max()
        np.testing.assert_allclose(norm, np.sqrt(2) * size**2)
    # For softmax cross-entropy it is bounded by sqrt(2), for any logits.
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(4, 0.05), size=500)
    norms = np.linalg.norm(p - np.eye(4)[rng.integers(0, 4, 500)], axis=1)
    assert 1.4 < norms.max() <= np.sqrt(2)


def test_the_accumulation_factor_scales_epsilon():
    """Footnote 4: 1/n and 1 give one rank, but the eps-rank of one at eps is that of the other at
    eps / n."""
    a, b = np.diag([1.0, 0.02, 0.0]), np.diag([1.0, 0.3])
    rank = theory.kronecker_epsilon_rank
    assert rank(a, b, 0.1) == 2
    assert rank(50 * a, b, 0.1) == rank(a, b, 0.1 / 50) == 4
    assert rank(50 * a, b, 1e-9) == rank(a, b, 1e-9) == 4


def test_the_factorisation_error_of_gaussians():
    """Section 7: 0 if inputs and gradients are uncorrelated, which makes Gaussians independent.
    Equal inputs and gradients have E[x^4] - E[x^2]^2 = 2, twice the product itself."""
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, 40_000, 1))
    error = lambda a, b: float(theory.factorisation_error(jnp.asarray(a), jnp.asarray(b)).sum())
    assert abs(error(x, g)) < 0.04
    assert error(x, x) == pytest.approx(2, abs=0.1)
    rho = 0.5
    mixed = rho * x + np.sqrt(1 - rho**2) * g
    assert error(x, mixed) == pytest.approx(2 * rho**2, abs=0.1)
