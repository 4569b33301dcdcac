"""What is measured at the start and end of tasks."""

from ._base import AbstractProbe as AbstractProbe, When as When
from ._dead_units import DeadUnits as DeadUnits
from ._dormant_units import DormantUnits as DormantUnits
from ._feature_rank import FeatureRank as FeatureRank
from ._gradient_norm import GradientNorm as GradientNorm
from ._hessian_spectrum import HessianSpectrum as HessianSpectrum
from ._sampling import (
    AbstractSamplingProbe as AbstractSamplingProbe,
    sample_risk as sample_risk,
    sample_taps as sample_taps,
)
from ._weight_norm import WeightNorm as WeightNorm
