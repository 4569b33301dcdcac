from ._checkpoint import OrbaxCheckpointer as OrbaxCheckpointer
from ._fingerprint import fingerprint as fingerprint
from ._meters import Meters as Meters
from ._progress import ProgressBar as ProgressBar
from ._tensorboard import TensorBoard as TensorBoard
from ._wandb import WeightsAndBiases as WeightsAndBiases
from ._watch import Watch as Watch
