"""The loss around the networks that a run has trained."""

import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._arguments import check_above, check_count
from ..._blas import single_threaded_blas
from ..._core import begin_task, Run
from ...curvature import extreme_eigenpairs, Hessian, loss_landscape
from ...probes import Sampler
from ..experiment._experiment import Experiment
from ..experiment._groups import assemble, Group, groups
from ..experiment._settings import SettingsError
from ._remade import remade
from ._results import load_results, Results
from ._saved import check_member, read_run
from .protection._memory import within_memory


_POINTS = 25  # in each direction


class Landscapes(NamedTuple):
    """The loss in a plane around each of several networks."""

    line: Float[np.ndarray, " points"]  # the coordinates in both directions
    planes: dict[str, Float[np.ndarray, "points points"]]  # by algorithm


def run_landscapes(
    folder: str | os.PathLike[str],
    *,
    algorithms: Sequence[str] | None = None,
    seed: int = 0,
    num_examples: int = 500,
    reach: float = 1.0,
    data_dir: str | None = None,
    experiment: Experiment | None = None,
) -> Landscapes:
    """The loss around the networks of a run, in the plane of the two leading eigenvectors.

    **Arguments:** as for `spectral.studies.draw_run_landscapes`.

    **Raises:** `SettingsError` as that function does.
    """
    try:
        check_above("--reach", reach, 0)
        check_count("--num-examples", num_examples)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    with within_memory("The landscape"):
        return _landscapes(folder, algorithms, seed, num_examples, reach, data_dir, experiment)


def _landscapes(
    folder: str | os.PathLike[str],
    algorithms: Sequence[str] | None,
    seed: int,
    num_examples: int,
    reach: float,
    data_dir: str | None,
    experiment: Experiment | None,
) -> Landscapes:
    results = load_results(folder)
    names = _chosen(results, algorithms, seed)
    experiment = remade(results, experiment, data_dir=data_dir)
    line = np.linspace(-reach, reach, _POINTS)
    planes = {}
    for group in groups(experiment):
        wanted = [(name, seed) for name in names if (name, seed) in group.names]
        if wanted:
            planes |= _planes(experiment, results.folder, group, wanted, num_examples, line)
    finite = {name: planes[name] for name in names if np.isfinite(planes[name]).any()}
    if lost := [name for name in names if name not in finite]:
        message = (
            f"The loss of {', '.join(lost)}, seed {seed}, is not finite at any point of the plane, "
            "as after a divergence"
        )
        if not finite:
            raise SettingsError(f"{message}: choose another `--seed` or `--algorithm`.")
        warnings.warn(f"{message}: left out.", stacklevel=3)
    return Landscapes(line, finite)


def _chosen(results: Results, algorithms: Sequence[str] | None, seed: int) -> list[str]:
    """The names of the algorithms. **Raises:** `SettingsError` for an unknown one or seed."""
    names = list(results.settings["algorithms"] if algorithms is None else algorithms)
    for name in names:
        check_member(results, name, seed, option="--")
    return names


def _planes(
    experiment: Experiment,
    folder: pathlib.Path,
    group: Group,
    wanted: Sequence[tuple[str, int]],
    num_examples: int,
    line: Float[np.ndarray, " points"],
) -> dict[str, np.ndarray]:
    """The planes of the wanted members of a group, by algorithm."""
    given = assemble(experiment, group.names)
    stream, key = given["stream"], given["key"]
    done, run = read_run(folder, group, given)
    with single_threaded_blas():
        found = {}
        for name in wanted:
            index = group.names.index(name)
            task, algo = jnp.asarray(done, int), experiment.algorithms[name[0]]
            ready = eqx.filter_jit(begin_task)(run[index], stream, algo, task, key[index])
            found[name[0]] = _plane(experiment, ready, num_examples, line, key[index])
    return found


def _plane(
    experiment: Experiment,
    run: Run,
    num_examples: int,
    line: Float[np.ndarray, " points"],
    key: Array,
) -> np.ndarray:
    data_key, vector_key = jax.random.split(jax.random.fold_in(key, _POINTS))
    try:
        sample_key, forward_key = jax.random.split(data_key)
        sampler = Sampler(
            run.learner, experiment.stream, run.stream, num_examples, "train", sample_key
        )
        risk = sampler.risk(key=forward_key)
    except ValueError as error:
        raise SettingsError(f"`--num-examples`: {error}") from error
    model = run.learner.model
    vectors = extreme_eigenpairs(Hessian(risk, model), count=2, key=vector_key).largest.vectors
    directions = [jax.tree.map(lambda leaf, i=i: leaf[i], vectors) for i in range(2)]
    return np.asarray(loss_landscape(risk, model, directions, line, line))
