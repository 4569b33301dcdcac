"""Lanczos without orthogonalisation, on spectra where float32 finds eigenvalues again and again."""

import pathlib
import re
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import matrix, rotation

from spectral.curvature import extremes, Full, Lanczos, NoOrthogonalisation, Sphere, vector_key
from spectral.studies.experiment._parse import parse


DIM, ORDER = 200, 60
LANCZOS = Lanczos(order=ORDER, num_vectors=2, orthogonalisation=NoOrthogonalisation())
ENDING = {
    "zero": np.zeros(DIM),
    "identity": np.ones(DIM),
    "rank 1": np.r_[23.15, np.zeros(DIM - 1)],
    "two clusters": np.r_[np.full(DIM // 2, 3.0), np.full(DIM // 2, -1.0)],
    "outlier": np.r_[2000.0, np.ones(DIM - 1)],
}
STRAKOS = 0.1 + np.arange(25) / 24 * 99.9 * 0.8 ** np.arange(24, -1, -1)
REPEATING = {
    "rank 9": np.r_[-4, np.linspace(2, 23.15, 8), np.zeros(DIM - 9)],
    "outliers to 1e4": np.r_[np.geomspace(1, 1e4, 11), np.zeros(DIM - 11)],
    "Strakos": np.repeat(STRAKOS, DIM // 25),
    "outliers and a bulk": np.r_[
        -np.geomspace(1, 20, 5), np.geomspace(1, 1000, 20), np.linspace(-0.02, 0.05, DIM - 25)
    ],
    "bulk": np.linspace(-1, 1.2, DIM),
}
KEY = jax.random.key(7)


@eqx.filter_jit
def _tails(spectrum, thresholds):
    return jax.vmap(spectrum.mass_above)(thresholds)


def measure_of(index):
    """The mass that a vector has at each eigenvalue."""
    start = np.asarray(Sphere()(DIM, np.float32, key=vector_key(KEY, index)), float)
    return (rotation(DIM).T @ start) ** 2


def quadrature_in_numpy(eigenvalues, mass):
    """Nodes and weights of an iteration in float64 that orthogonalises against all vectors."""
    basis = np.sqrt(mass)[None] / np.linalg.norm(np.sqrt(mass))
    diagonal, off_diagonal = [], []
    for _ in range(ORDER):
        new = eigenvalues * basis[-1]
        diagonal.append(basis[-1] @ new)
        for _ in range(2):
            new = new - basis.T @ (basis @ new)
        off_diagonal.append(np.linalg.norm(new))
        if off_diagonal[-1] <= 1e-12 * np.abs(eigenvalues).max():
            break
        basis = np.concatenate([basis, new[None] / off_diagonal[-1]])
    size = len(diagonal)
    beside = np.diag(off_diagonal[: size - 1], 1)
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + beside + beside.T)
    return nodes, vectors[0] ** 2


def below(nodes, weights, points):
    return (weights * (nodes <= points[:, None])).sum(axis=1)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in ("identity", "rank 1", "bulk") else ())
        for n in (*ENDING, *REPEATING)
    ],
)
def test_copies_leave_the_distribution(name):
    eigenvalues = (ENDING | REPEATING)[name]
    spectrum = LANCZOS(matrix(eigenvalues, jnp.float32), key=KEY)
    distinct = np.unique(eigenvalues)
    size = np.abs(eigenvalues).max()
    wide = np.diff(distinct) > 0.01 * np.ptp(distinct)
    middles = (distinct[1:] + distinct[:-1])[wide] / 2
    # Also at eigenvalues, next to them and at nodes, where the bounds are hardest to keep.
    grid = np.r_[np.linspace(-1.1, 1.1, 150) * (size + 1e-3), np.geomspace(1e-3, 1e3, 50)]
    thresholds = np.resize(np.r_[distinct, distinct + 1e-6 * size, distinct - 1e-6 * size], 600)
    thresholds = np.r_[thresholds, np.asarray(spectrum.nodes[0]), grid].astype(np.float32)
    tails = jax.tree.map(np.asarray, _tails(spectrum, jnp.asarray(thresholds)))
    found = jax.tree.map(np.asarray, spectrum)
    assert found.exhausted.all() == (name in ENDING)
    for index in range(2):
        mass, nodes = measure_of(index), found.nodes[index].astype(float)
        weights = found.weights[index].astype(float)
        assert np.isfinite(nodes).all()
        # Beyond wide gaps the mass is that of the vector itself.
        expected = below(eigenvalues, mass, middles)
        np.testing.assert_allclose(below(nodes, weights, middles), expected, atol=1e-3)
        # The area between the distribution and that of an iteration that orthogonalises.
        reference = quadrature_in_numpy(eigenvalues, mass)
        points = np.sort(np.r_[nodes, reference[0]])
        apart = np.abs(below(nodes, weights, points) - below(*reference, points))[:-1]
        assert apart @ np.diff(points) <= 1e-3 * max(np.ptp(distinct), size)
        truth = np.sum(mass * (eigenvalues > thresholds[:, None].astype(float)), axis=1)
        assert (tails.lower[:, index] <= truth + 1e-6).all()
        assert (tails.upper[:, index] >= truth - 1e-6).all()
        distance = np.abs(nodes[:, None] - eigenvalues).min(axis=1)
        assert (distance <= found.residuals[index]).all()
        if name in ENDING:
            assert np.sum(weights > 1e-12) == len(distinct)
    # There are copies to speak of: more nodes far out than eigenvalues.
    if name in ("rank 9", "outliers to 1e4", "outliers and a bulk"):
        assert (np.abs(found.nodes) > 0.5).sum() > 2 * (np.abs(eigenvalues) > 0.5).sum() + 10


def test_only_the_ends_are_known_one_by_one():
    eigenvalues = REPEATING["outliers to 1e4"]
    spectrum = LANCZOS(matrix(eigenvalues, jnp.float32), key=KEY)
    assert spectrum.copies
    assert (spectrum.nodes[:, -2:] > 9000).all()  # the largest eigenvalue and its copy
    np.testing.assert_allclose(extremes(spectrum).largest, [1e4], rtol=1e-5)
    with pytest.raises(ValueError, match=r"at most 1, .*`orthogonalisation=Full\(\)`"):
        extremes(spectrum, count=2)


def test_the_default_orthogonalises_and_yaml_names_the_forms():
    assert Lanczos().orthogonalisation == Full()
    written = {"type": "Lanczos", "order": 4, "orthogonalisation": {"type": "NoOrthogonalisation"}}
    assert parse(written, Lanczos, "estimator", {}).make() == Lanczos(
        order=4, orthogonalisation=NoOrthogonalisation()
    )


@pytest.mark.slow
def test_each_vector_of_a_batch_of_keys_has_its_own_iteration():
    operator, keys = matrix(REPEATING["bulk"], jnp.float32), jax.random.split(KEY, 2)
    lanczos = Lanczos(order=6, num_vectors=2, orthogonalisation=NoOrthogonalisation())
    batched = eqx.filter_jit(eqx.filter_vmap(lambda key: lanczos(operator, key=key)))(keys)
    for index in range(2):
        alone = lanczos(operator, key=keys[index])
        np.testing.assert_allclose(batched.nodes[index], alone.nodes, rtol=1e-4, atol=1e-5)
        orthogonal = Lanczos(order=6, num_vectors=2)(operator, key=keys[index])
        np.testing.assert_allclose(alone.nodes, orthogonal.nodes, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_peak_of_a_process_is_a_few_vectors():
    """Of a matrix whose product takes one vector, with twenty million rows in float32."""
    script = pathlib.Path(__file__).parents[2] / "benchmarks" / "lanczos_memory.py"
    command = [sys.executable, script, "cheap", "--size", "2e7", "--order", "6", "--form", "none"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"none: +([0-9.]+) vectors, of which the product +([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) - float(found[2]) <= 4.1  # a resident size is known to a few pages
