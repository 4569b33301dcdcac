"""The figure of landscapes."""

import numpy as np
import pytest

from spectral import studies


def bowl():
    x, y = np.linspace(-1, 1, 4), np.linspace(-2, 2, 5)
    return x, y, x[:, None] ** 2 + y[None] ** 2


def test_the_figure_of_landscapes(tmp_path):
    x, y, losses = bowl()
    planes = {"broken": np.where(losses > 3, np.nan, losses)}
    files = studies.draw_landscapes(planes, x, y, tmp_path / "new" / "plane", ceiling=4.0)
    assert [f.name for f in files] == ["plane.png", "plane.pdf"]
    assert all(f.stat().st_size > 1000 for f in files)


def test_landscapes_that_cannot_be_drawn(tmp_path):
    x, y, losses = bowl()
    with pytest.raises(ValueError, match="`landscapes` is empty"):
        studies.draw_landscapes({}, x, y, tmp_path / "plane")
    with pytest.raises(ValueError, match=r"'turned' has the shape \(5, 4\) and 20 finite losses"):
        studies.draw_landscapes({"turned": losses.T}, x, y, tmp_path / "plane")
    with pytest.raises(ValueError, match=r"'lost' has the shape \(4, 5\) and 0 finite losses"):
        studies.draw_landscapes({"lost": np.full((4, 5), np.nan)}, x, y, tmp_path / "plane")
