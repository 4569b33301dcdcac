"""The figure of the loss around the networks of a run."""

import os
import pathlib
from collections.abc import Sequence

from ..experiment._experiment import Experiment
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
    experiment: Experiment | None = None,
) -> list[pathlib.Path]:
    """Draw the loss around the networks of a run, at the start of a task (paper, Figures 1, 4, 5).

    The networks are those of the last checkpoint of each algorithm, and the task is the next one
    (after the last task of the run, one more). The plane is spanned by the unit eigenvectors of the
    two largest eigenvalues of the Hessian on the same examples. Writes PNG and PDF to
    `figures/landscape` of the run. The run is only read, so this also works while it is training.

    ```python
    studies.draw_run_landscapes("runs/digits", algorithms=["bp", "l2_er"], reach=2.0)
    ```

    **Arguments:**

    - `algorithms`: their names. By default all.
    - `seed`: the seed of the networks.
    - `num_examples`: how many training examples of the task the mean loss is computed on.
    - `reach`: the plane extends from -reach to reach in both directions.
    - `data_dir`: as for `load_experiment`.
    - `experiment`: the experiment of the run, if it was made in Python by `experiment_of`.

    **Returns:** the files that were written.

    **Raises:** `SettingsError` if the folder does not hold a run, if an algorithm or a seed does
    not exist or has no checkpoint, if a number is not above 0, or if no network has a finite loss
    in the plane. Networks without a finite loss are left out with a warning.
    """
    line, planes = run_landscapes(
        folder,
        algorithms=algorithms,
        seed=seed,
        num_examples=num_examples,
        reach=reach,
        data_dir=data_dir,
        experiment=experiment,
    )
    labels = ("First eigenvector", "Second eigenvector")
    path = pathlib.Path(folder) / "figures" / "landscape"
    return draw_landscapes(planes, line, line, path, labels=labels)
