"""Measurements at the start and end of tasks."""

from ._base._boundary import Boundary as Boundary
from ._base._probe import AbstractProbe as AbstractProbe, When as When
from ._base._sampler import Sampler as Sampler
from ._base._sampling_probe import AbstractSamplingProbe as AbstractSamplingProbe
from ._base._unanswered import unanswered as unanswered
from .curvature._curvature_ranks import CurvatureRanks as CurvatureRanks
from .curvature._hessian_spectrum import HessianSpectrum as HessianSpectrum
from .curvature._neural_tangent_kernel import NeuralTangentKernel as NeuralTangentKernel
from .features._feature_rank import FeatureRank as FeatureRank
from .gradients._example_gradients import ExampleGradients as ExampleGradients
from .gradients._gradient_norm import GradientNorm as GradientNorm
from .gradients._local_redundancy import LocalRedundancy as LocalRedundancy
from .gradients._parameter_ratio import GradientToParameterRatio as GradientToParameterRatio
from .gradients._quadratic_gain import QuadraticGain as QuadraticGain
from .outcome._forgetting import forgetting as forgetting
from .outcome._retention import Retention as Retention
from .units._dead_units import DeadUnits as DeadUnits
from .units._dormant_units import DormantUnits as DormantUnits
from .weights._weight_norm import WeightNorm as WeightNorm
