"""The experiment of a run folder, made again."""

from ..experiment._experiment import Experiment
from ..experiment._make import make_experiment
from ._results import Results


def remade(results: Results, experiment: Experiment | None, *, data_dir: str | None) -> Experiment:
    if experiment is None:
        return make_experiment(results.settings, data_dir=data_dir)
    return experiment
