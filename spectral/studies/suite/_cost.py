"""What an algorithm costs beside plain backpropagation."""

import pathlib
from typing import Any, NamedTuple

from ..experiment._make import make_experiment
from ..runs.planning._dry_run import dry_run


class Cost(NamedTuple):
    """Time and memory as multiples of those of `bp`."""

    time: float
    memory: float


def cost_of(settings: dict[str, Any], algorithm: Any, lr: Any, *, folder: pathlib.Path) -> Cost:
    """The cost of training an algorithm, both measured one after the other in this process.

    Time is that of the training steps, of what begins a task and of its evaluation, without
    compiling. Memory is that of the largest program with its arrays, without the data.

    **Arguments:**

    - `settings`: those of an experiment, whose stream and network are used.
    - `algorithm`: the settings of the algorithm.
    - `lr`: a learning rate of `bp`.
    - `folder`: where modules of one's own are looked for.
    """
    bare = {name: settings[name] for name in ("stream", "model")}
    plans = []
    for chosen in ({"type": "bp", "lr": lr}, algorithm):
        experiment = make_experiment(bare | {"algorithms": {"timed": chosen}}, folder=folder)
        plans.extend(dry_run(experiment, folder / _NOWHERE).groups)
    bp, own = plans
    return Cost(own.train_seconds / bp.train_seconds, own.bytes / bp.bytes)


_NOWHERE = "a folder that is never written"
