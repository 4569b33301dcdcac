"""Measurements at the start and end of tasks."""

from ._base._boundary import Boundary as Boundary
from ._base._branch_probe import AbstractBranchProbe as AbstractBranchProbe
from ._base._measure_with import measure_with as measure_with
from ._base._probe import AbstractProbe as AbstractProbe, When as When
from ._base._sampler import Sampler as Sampler
from ._base._sampling_probe import AbstractSamplingProbe as AbstractSamplingProbe
from ._base._train import Start as Start, Train as Train, Trained as Trained
from .curvature._hessian_spectrum import HessianSpectrum as HessianSpectrum
from .features._feature_rank import FeatureRank as FeatureRank
from .gradients._gradient_norm import GradientNorm as GradientNorm
from .interventions._intervened import Intervened as Intervened
from .interventions._intervention import AbstractIntervention as AbstractIntervention
from .interventions._new_head import NewHead as NewHead
from .interventions._rescaling import Rescaling as Rescaling
from .interventions._revival import Revival as Revival
from .interventions._singular import (
    NewSingularValues as NewSingularValues,
    NewSingularVectors as NewSingularVectors,
)
from .interventions._split_clones import SplitClones as SplitClones
from .outcome._forgetting import forgetting as forgetting
from .outcome._on_fresh_tasks import OnFreshTasks as OnFreshTasks
from .outcome._retention import Retention as Retention
from .outcome._trainability import Trainability as Trainability
from .units._dead_units import DeadUnits as DeadUnits
from .units._dormant_units import DormantUnits as DormantUnits
from .weights._weight_norm import WeightNorm as WeightNorm
