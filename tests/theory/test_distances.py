"""Distances between finite sets, against SciPy."""

import numpy as np
import pytest
import scipy.spatial.distance
from theory_profile import COUNTS, tried

from spectral import theory
from spectral.theory import strategies


pytestmark = pytest.mark.usefixtures("float64")


@COUNTS
def test_distances_of_sets(count):
    @tried(count, strategies.task_shifts(max_shift=1.0))
    def holds(shift):
        old, new = np.asarray(shift.old), np.asarray(shift.new)
        expected = scipy.spatial.distance.directed_hausdorff(new, old)[0]
        for nearest in (theory.Pairwise(), theory.Pairwise(batch_size=2), theory.TreeIndex()):
            found = theory.directed_hausdorff(new, old, nearest=nearest)
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        both = max(expected, scipy.spatial.distance.directed_hausdorff(old, new)[0])
        np.testing.assert_allclose(theory.hausdorff(old, new), both, rtol=1e-12)
        assert theory.directed_hausdorff(new[:2], new) == 0
        each = np.linalg.norm(new[:, None] - old[None], axis=2).min(axis=1)
        np.testing.assert_allclose(theory.nearest_distances(new, old), each, rtol=1e-12)


def test_near_points_far_from_the_origin():
    """A computation by inner products would lose this distance."""
    old = np.array([[1e9, 1e9]])
    for nearest in (theory.Pairwise(), theory.TreeIndex()):
        found = theory.directed_hausdorff(old + [[0.0, 0.25]], old, nearest=nearest)
        assert found == 0.25


def test_distances_between_tiny_and_between_huge_coordinates():
    """Their squares underflow or overflow."""
    for size in (1e-200, 1e200):
        for nearest in (theory.Pairwise(), theory.TreeIndex()):
            new, old = size * np.array([[3.0, 4.0]]), size * np.array([[0.0, 0.0]])
            found = theory.directed_hausdorff(new, old, nearest=nearest)
            np.testing.assert_allclose(found, 5 * size, rtol=1e-14)
    assert theory.directed_hausdorff(np.zeros((1, 2)), np.zeros((2, 2))) == 0
