"""Figures of the loss around the networks of a run."""

import os
import pathlib
from collections.abc import Sequence

from ..runs._folder import load_results
from ..runs._landscapes import run_landscapes
from ._landscape_figure import draw_landscapes


def draw_run_landscapes(
    folder: str | os.PathLike[str],
    *,
    algorithms: Sequence[str] | None = None,
    seed: int = 0,
    num_examples: int = 500,
    reach: float = 1.0,
    data_dir: str | None = None,
) -> list[pathlib.Path]:
    """Draw the loss around the networks of a run, at the start of a task (paper, Figures 1, 4, 5).

    The networks are those of the last checkpoint of each algorithm, and the task is the one that
    comes next (after the last task of a run, one more). The plane is spanned by the eigenvectors,
    of length 1, of the two largest eigenvalues of the Hessian on the same examples. Written as PNG
    and PDF to `figures/landscape` of the run.

    ```python
    studies.draw_run_landscapes("runs/digits", algorithms=["bp", "l2_er"], reach=2.0)
    ```

    **Arguments:**

    - `algorithms`: their names; by default all.
    - `seed`: which of the networks.
    - `num_examples`: training examples of the task on which the loss is the mean.
    - `reach`: the plane goes from -reach to reach in both directions.
    - `data_dir`: as for `load_experiment`.

    **Returns:** the files that were written.

    **Raises:** `SettingsError` for a folder without a run, an algorithm or a seed that is not
    there, if there is no checkpoint of it, for numbers that are not above 0, or if no network has a
    finite loss. Networks without one are left out with a warning.

    Nothing of the run is changed, so it may still be going on.
    """
    results = load_results(folder)
    line, planes = run_landscapes(
        results,
        algorithms=algorithms,
        seed=seed,
        num_examples=num_examples,
        reach=reach,
        data_dir=data_dir,
    )
    labels = ("First eigenvector", "Second eigenvector")
    path = results.folder / "figures" / "landscape"
    return draw_landscapes(planes, line, line, path, labels=labels)
