"""Loss landscapes of the networks that a run has trained."""

import os
import pathlib
import warnings
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import check_above, check_count, unknown_name
from .._blas import single_threaded_blas
from .._core import begin_task, Run, start_run
from .._ensemble import Ensemble, spread
from .._loop import configuration
from ..curvature import extreme_eigenpairs, Hessian, loss_landscape
from ..probes import sample_risk
from ._checkpoint import OrbaxCheckpointer
from ._experiment import Experiment, RECORDED
from ._folder import load_results
from ._groups import assemble, Group, groups
from ._landscape_figure import draw_landscapes
from ._read_experiment import make_experiment
from ._settings import SettingsError


_POINTS = 25  # in each direction


def draw_run_landscapes(
    folder: str | os.PathLike[str],
    *,
    algorithms: Sequence[str] | None = None,
    seed: int = 0,
    examples: int = 500,
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
    - `examples`: training examples of the task on which the loss is the mean.
    - `reach`: the plane goes from -reach to reach in both directions.
    - `data_dir`: as for `load_experiment`.

    **Returns:** the files that were written.

    **Raises:** `SettingsError` for a folder without a run, an algorithm or a seed that is not
    there, if there is no checkpoint of it, for numbers that are not above 0, or if no network has a
    finite loss. Networks without one are left out with a warning.

    Nothing of the run is changed, so it may still be going on.
    """
    try:
        check_above("--reach", reach, 0)
        check_count("--examples", examples)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    results = load_results(folder)
    settings = {name: value for name, value in results.settings.items() if name != RECORDED}
    names = list(settings["algorithms"]) if algorithms is None else list(algorithms)
    for name in names:
        if name not in settings["algorithms"]:
            known = settings["algorithms"]
            raise SettingsError(unknown_name("`--algorithm`: Algorithm", name, known))
    if not 0 <= seed < settings["seeds"]:
        raise SettingsError(
            f"`--seed` is {seed}, but the run has the seeds 0 to {settings['seeds'] - 1}."
        )
    experiment = make_experiment(settings, data_dir=data_dir)
    line = np.linspace(-reach, reach, _POINTS)
    planes = {}
    for group in groups(experiment):
        wanted = [(name, seed) for name in names if (name, seed) in group.names]
        if wanted:
            planes |= _planes(experiment, results.folder, group, wanted, examples, line)
    ordered = {name: planes[name] for name in names if np.isfinite(planes[name]).any()}
    if lost := [name for name in names if name not in ordered]:
        message = (
            f"The loss of {', '.join(lost)}, seed {seed}, is finite nowhere in the plane, as after "
            "a divergence"
        )
        if not ordered:
            raise SettingsError(f"{message}: choose another `--seed` or `--algorithm`.")
        warnings.warn(f"{message}: left out.", stacklevel=2)
    labels = ("First eigenvector", "Second eigenvector")
    path = results.folder / "figures" / "landscape"
    return draw_landscapes(ordered, line, line, path, labels=labels)


def _planes(
    experiment: Experiment,
    folder: pathlib.Path,
    group: Group,
    wanted: Sequence[tuple[str, int]],
    examples: int,
    line: Float[np.ndarray, " points"],
) -> dict[str, np.ndarray]:
    given = assemble(experiment, group.names)
    model, stream, algo, key = (given[n] for n in ("model", "stream", "algo", "key"))
    config = configuration(**given)
    with single_threaded_blas():
        empty = eqx.filter_jit(spread(start_run))(model, given["model_state"], stream, algo, key)
        try:
            checkpointer = OrbaxCheckpointer(folder / "checkpoints" / f"{group.number}")
            kept = checkpointer.read(config, empty)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        if kept is None:
            raise SettingsError(
                f"{str(folder)!r} holds no checkpoint of {wanted[0][0]!r}: wait until the run has "
                "trained its first tasks."
            )
        done, run, _ = kept
        assert isinstance(run, Ensemble)
        found = {}
        for name in wanted:
            index = group.names.index(name)
            start = jnp.asarray(done, int)
            ready = eqx.filter_jit(begin_task)(run[index], stream, algo[index], start, key[index])
            found[name[0]] = _plane(experiment, ready, examples, line, key[index])
    return found


def _plane(
    experiment: Experiment,
    run: Run,
    examples: int,
    line: Float[np.ndarray, " points"],
    key: Array,
) -> np.ndarray:
    data_key, vector_key = jax.random.split(jax.random.fold_in(key, _POINTS))
    try:
        risk = sample_risk(
            run.learner, experiment.stream, run.stream, examples, "train", key=data_key
        )
    except ValueError as error:
        raise SettingsError(f"`--examples`: {error}") from error
    model = run.learner.model
    vectors = extreme_eigenpairs(Hessian(risk, model), 2, key=vector_key).largest.vectors
    directions = [jax.tree.map(lambda leaf, i=i: leaf[i], vectors) for i in range(2)]
    return np.asarray(loss_landscape(risk, model, directions, line, line))
