"""Measurements at the start and end of tasks."""

from ._base._boundary import Boundary as Boundary
from ._base._probe import AbstractProbe as AbstractProbe, When as When
from ._base._sampler import Sampler as Sampler
from ._base._sampling_probe import AbstractSamplingProbe as AbstractSamplingProbe
from .curvature._hessian_spectrum import HessianSpectrum as HessianSpectrum
from .features._feature_rank import FeatureRank as FeatureRank
from .gradients._gradient_norm import GradientNorm as GradientNorm
from .outcome._forgetting import forgetting as forgetting
from .outcome._overestimation import Overestimation as Overestimation
from .outcome._retention import Retention as Retention
from .units._dead_units import DeadUnits as DeadUnits
from .units._dormant_units import DormantUnits as DormantUnits
from .weights._weight_norm import WeightNorm as WeightNorm
