"""The spectrum of a loss whose Hessian is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from growing_classes import GrowingClasses, Rows
from signals import boundary_at, learner_of

from spectral import probes
from spectral._keys import derive, Role
from spectral._types import Aux
from spectral.curvature import Dense, GaussNewton, GramEigh, Lanczos
from spectral.models import Point


pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(5)
NUM, DIM = 12, 8
RNG = np.random.default_rng(0)
INPUTS, TARGETS = RNG.normal(size=(2, NUM, DIM))
POSITION = RNG.normal(size=DIM) * np.array([1, 1, 1, 1, 0.05, 0.05, 0.05, 0.05])
OUTPUTS = INPUTS * POSITION**2 / 2
TARGETS[:, 5:] = OUTPUTS[:, 5:]
EPSILON = 0.01


class Squares(GrowingClasses):
    """The outputs x_j p_j^2 / 2 are fitted to targets, so the Hessian in p is diagonal."""

    def forward(self, model, model_state, batch, *, key, inference):
        return batch.inputs * model.position[None] ** 2 / 2, Aux({}, None)

    def criterion(self, outputs, batch):
        return jnp.mean(jnp.sum((outputs - batch.labels) ** 2, axis=1)) / 2, {}

    def sample(self, state, learner, num_examples, split, *, key):
        return Rows(self.inputs[:num_examples], self.labels[:num_examples], self.labels)


# The second derivatives of the outputs add to the Hessian and not to the Gauss-Newton matrix.
GAUSS_NEWTON = np.mean(INPUTS**2, axis=0) * POSITION**2
HESSIAN = GAUSS_NEWTON + np.mean((OUTPUTS - TARGETS) * INPUTS, axis=0)


class Drawn(Squares):
    """The same loss on rows that are drawn."""

    def sample(self, state, learner, num_examples, split, *, key):
        rows = jax.random.permutation(key, NUM)[:num_examples]
        return Rows(self.inputs[rows], self.labels[rows], self.labels[rows])


@eqx.filter_jit
def measure(spectra, learner, stream):
    state = jnp.asarray(6)
    return [probe(learner, stream, state, key=KEY) for probe in spectra]


def measured(*spectra, kind=Squares):
    stream = kind(inputs=jnp.asarray(INPUTS), labels=jnp.asarray(TARGETS))
    found = measure(list(spectra), learner_of(Point(jnp.asarray(POSITION))), stream)
    return jax.tree.map(np.asarray, found)


def test_the_spectrum_of_the_hessian():
    fraction = (np.abs(HESSIAN) > EPSILON).mean()
    assert HESSIAN.min() < 0
    assert 0 < fraction < 1
    estimator = Lanczos(order=DIM, num_vectors=40)
    spectrum = probes.HessianSpectrum(epsilon=EPSILON, num_examples=NUM, estimator=estimator)
    (found,) = measured(spectrum)
    np.testing.assert_allclose(found["extremes"], [HESSIAN.min(), HESSIAN.max()], rtol=1e-9)
    rank, sem = found["normalised_epsilon_rank"], found["normalised_epsilon_rank_sem"]
    assert abs(rank - fraction) < 4 * sem
    assert found["normalised_epsilon_rank_lower"] <= rank
    assert rank <= found["normalised_epsilon_rank_upper"]
    low, high = (found[f"normalised_epsilon_rank_{end}"] for end in ("low", "high"))
    assert low <= fraction <= high
    # The spectrum is exhausted, so the interval is that of Student's t.
    quantile = scipy.stats.t.ppf(0.975, 39)
    np.testing.assert_allclose([low, high], [rank - quantile * sem, rank + quantile * sem])
    np.testing.assert_allclose(found["normalised_epsilon_rank_smallest"], 1 / DIM)
    assert found["resolved"] == 1
    assert found["nodes"].shape == found["weights"].shape == (40, DIM)
    np.testing.assert_allclose(found["weights"].sum(axis=1), 1)


def test_the_deviation_over_samples():
    """It is that of the exact fractions on the sample of all probes and on the further ones."""
    options = {"epsilon": 0.5, "estimator": Dense(), "num_examples": 4}
    plain = probes.HessianSpectrum(**options)
    found, alone = measured(probes.HessianSpectrum(num_resamples=3, **options), plain, kind=Drawn)
    fractions = []
    for key in (KEY, *(derive(KEY, Role.SAMPLE, i) for i in range(3))):
        rows = np.asarray(jax.random.permutation(key, NUM)[:4])
        gauss_newton = np.mean(INPUTS[rows] ** 2, axis=0) * POSITION**2
        rest = np.mean((OUTPUTS - TARGETS)[rows] * INPUTS[rows], axis=0)
        fractions.append((np.abs(gauss_newton + rest) > 0.5).mean())
    assert len(set(fractions)) > 1
    name = "normalised_epsilon_rank"
    np.testing.assert_allclose(found[name], fractions[0])
    np.testing.assert_allclose(found.pop(f"{name}_sample_sd"), np.std(fractions, ddof=1))
    assert found.keys() == alone.keys()
    with pytest.raises(ValueError, match="`num_resamples` is -1"):
        probes.HessianSpectrum(num_resamples=-1)


def test_the_matrix_receives_the_risk_and_the_network():
    seen = []

    def matrix(risk, params):
        seen.append((risk.batch_size, params.position.shape))
        return GaussNewton(risk, params)

    spectrum = probes.HessianSpectrum(
        matrix=matrix, estimator=Dense(), num_examples=NUM, batch_size=4
    )
    stream = Squares(inputs=jnp.asarray(INPUTS), labels=jnp.asarray(TARGETS))
    learner = learner_of(Point(jnp.asarray(POSITION)))
    at = boundary_at(KEY)
    eqx.filter_eval_shape(spectrum, learner, stream, jnp.asarray(6), boundary=at, key=KEY)
    assert seen == [(4, (DIM,))]


@pytest.mark.parametrize("batch_size", [pytest.param(None, marks=pytest.mark.slow), 4])
def test_any_matrix_and_any_estimator(batch_size):
    options = {"epsilon": EPSILON, "num_examples": NUM, "batch_size": batch_size}
    spectra = [
        probes.HessianSpectrum(matrix=GaussNewton, estimator=GramEigh(), **options),
        probes.HessianSpectrum(matrix=GaussNewton, estimator=Dense(), **options),
        probes.HessianSpectrum(estimator=Dense(), **options),
    ]
    found = measured(*spectra)
    for spectrum, exact in zip(found, (GAUSS_NEWTON, GAUSS_NEWTON, HESSIAN), strict=True):
        extremes = [exact.min(), exact.max()]
        np.testing.assert_allclose(spectrum["extremes"], extremes, rtol=1e-9, atol=1e-12)
        fraction = (np.abs(exact) > EPSILON).mean()
        np.testing.assert_allclose(spectrum["normalised_epsilon_rank"], fraction, rtol=1e-9)
    assert (GAUSS_NEWTON > EPSILON).sum() < (np.abs(HESSIAN) > EPSILON).sum()
