"""The experiment of a run folder, made again."""

import dataclasses

from ..experiment._experiment import APART, Experiment, RECORDED
from ..experiment._make import make_experiment
from ..experiment._settings import differences, SettingsError
from ._results import Results


def remade(results: Results, experiment: Experiment | None, *, data_dir: str | None) -> Experiment:
    """The experiment of a run: the one that is given, or one from the settings in the folder.

    Its algorithms have the order of the run, by which its checkpoints are numbered, and its members
    are trained apart if those of the run are.

    **Raises:** `SettingsError` if the given experiment is not that of the run, or if none is given
    and the run was made in Python.
    """
    apart = bool(results.recorded.get(APART))
    if experiment is None:
        made = make_experiment(results.settings, data_dir=data_dir)
        return dataclasses.replace(made, apart=apart)
    settings = {name: value for name, value in results.settings.items() if name != RECORDED}
    if found := list(differences(settings, experiment.settings)):
        raise SettingsError(
            f"`experiment` is not that of the run in {str(results.folder)!r}: {'; '.join(found)}. "
            "Pass the experiment with which the run was made."
        )
    algorithms = {name: experiment.algorithms[name] for name in settings["algorithms"]}
    return dataclasses.replace(experiment, algorithms=algorithms, apart=apart)
