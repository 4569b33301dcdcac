"""Measurements at the start and end of tasks."""

from ._base._boundary import Boundary as Boundary
from ._base._branch_probe import AbstractBranchProbe as AbstractBranchProbe
from ._base._measure_at_start import measure_at_start as measure_at_start
from ._base._measure_with import measure_with as measure_with
from ._base._probe import AbstractProbe as AbstractProbe, When as When
from ._base._sampler import Sampler as Sampler
from ._base._sampling_probe import AbstractSamplingProbe as AbstractSamplingProbe
from ._base._train import Start as Start, Train as Train, Trained as Trained
from ._base._unanswered import unanswered as unanswered
from .curvature._block_spectra import BlockSpectra as BlockSpectra
from .curvature._curvature_ranks import CurvatureRanks as CurvatureRanks
from .curvature._hessian_spectrum import HessianSpectrum as HessianSpectrum
from .curvature._neural_tangent_kernel import NeuralTangentKernel as NeuralTangentKernel
from .features._feature_rank import FeatureRank as FeatureRank
from .features._representation_change import RepresentationChange as RepresentationChange
from .gradients._example_gradients import ExampleGradients as ExampleGradients
from .gradients._gradient_norm import GradientNorm as GradientNorm
from .gradients._local_redundancy import LocalRedundancy as LocalRedundancy
from .gradients._parameter_ratio import GradientToParameterRatio as GradientToParameterRatio
from .gradients._quadratic_gain import QuadraticGain as QuadraticGain
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
from .outcome._overestimation import Overestimation as Overestimation
from .outcome._retention import Retention as Retention
from .outcome._start_loss import StartLoss as StartLoss
from .outcome._trainability import Trainability as Trainability
from .outcome._trivial_predictors import trivial_predictors as trivial_predictors
from .transformers._attention_heads import AttentionHeads as AttentionHeads
from .transformers._block_features import BlockFeatures as BlockFeatures
from .units._active_units import ActiveUnits as ActiveUnits
from .units._dead_units import DeadUnits as DeadUnits
from .units._dormant_units import DormantUnits as DormantUnits
from .units._frozen_units import FrozenUnits as FrozenUnits
from .units._linearised_units import LinearisedUnits as LinearisedUnits
from .units._saturated_units import SaturatedUnits as SaturatedUnits
from .units._sign_entropy import SignEntropy as SignEntropy
from .units._twin_units import TwinUnits as TwinUnits
from .weights._balanced import Balanced as Balanced
from .weights._initial_distance import InitialDistance as InitialDistance
from .weights._largest_singular_values import LargestSingularValues as LargestSingularValues
from .weights._weight_growth import weight_growth as weight_growth
from .weights._weight_norm import WeightNorm as WeightNorm
