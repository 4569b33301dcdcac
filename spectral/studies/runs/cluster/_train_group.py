"""Training one group, whose members one program trains."""

from ...._loop import train_continual
from ....recording import Meters, ProgressBar
from ...experiment._groups import assemble, Group
from ...experiment._watches import meters_of
from .._keeper import Keeper
from .._results import save_member
from ._cluster import Work


def train_group(work: Work, group: Group) -> None:
    """Train a group from its last checkpoint, and save the histories of its members."""
    experiment, folder = work.experiment, work.folder
    keeper = Keeper(folder, group, experiment.stream, stop=work.stop, keep_every=work.keep_every)
    bar = ProgressBar(label=group.label)
    try:
        names = ["{}, seed {}".format(*name) for name in group.names]
        loggers = [logger(folder, names=group.names) for logger in work.loggers]
        meter = Meters((*meters_of(experiment, names, bar), bar, *loggers))
        _, history = train_continual(
            **assemble(experiment, group.names),
            meter=meter,
            checkpointer=keeper,
            batch_dependent=True,  # the experiment has been checked
        )
    finally:
        bar.close()
    for member in keeper.members(history, ended=True):
        save_member(folder, member)
