from . import (
    algorithms as algorithms,
    curvature as curvature,
    models as models,
    probes as probes,
    recording as recording,
    studies as studies,
    tasks as tasks,
    theory as theory,
)
from ._base._optimiser import Optimiser as Optimiser
from ._base._processes import LostProcessError as LostProcessError
from ._base._quantity import Quantity as Quantity
from ._core import Run as Run, train_tasks as train_tasks
from ._divergence import Diverged as Diverged
from ._ensemble import Ensemble as Ensemble
from ._history import History as History
from ._loop import train_continual as train_continual
from ._recorders import (
    AbstractCheckpointer as AbstractCheckpointer,
    AbstractMeter as AbstractMeter,
)
from ._types import (
    Aux as Aux,
    Chunk as Chunk,
    Clock as Clock,
    Learner as Learner,
    Signal as Signal,
    Step as Step,
    TaskStart as TaskStart,
)
from .studies.command_line._version import __version__ as __version__
