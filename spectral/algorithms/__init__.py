"""Transforms of a learner, penalties, optimisers, and the recipes that combine them."""

from .._base._schedule import AbstractLearningRateSchedule as AbstractLearningRateSchedule
from ._base._algorithm import Algorithm as Algorithm, AlgorithmState as AlgorithmState
from ._base._fresh import fresh_network as fresh_network
from ._base._periodic import Periodic as Periodic
from ._base._protocols import (
    AbstractPenalty as AbstractPenalty,
    AbstractTransform as AbstractTransform,
)
from .optimisers._adam import (
    adam as adam,
    adamw as adamw,
    entrywise_adam as entrywise_adam,
    entrywise_adamw as entrywise_adamw,
)
from .optimisers._local_time import LocalTime as LocalTime
from .optimisers._muon import equinox_muon as equinox_muon, muon as muon
from .optimisers._proportional_sign import proportional_sign as proportional_sign
from .optimisers._schedules import (
    Constant as Constant,
    ExponentialDecay as ExponentialDecay,
    InverseSquareRoot as InverseSquareRoot,
    WarmupCosine as WarmupCosine,
)
from .optimisers._sgd import sgd as sgd
from .optimisers._trac import trac_around as trac_around
from .optimisers._upgd import perturbed_adam as perturbed_adam, perturbed_sgd as perturbed_sgd
from .penalties._churn_reduction import ChurnReduction as ChurnReduction
from .penalties._feature_log_det import FeatureLogDet as FeatureLogDet
from .penalties._l2 import L2 as L2
from .penalties._l2_init import L2Init as L2Init
from .penalties._parseval import Parseval as Parseval
from .penalties._spectral_norm import SpectralNorm as SpectralNorm
from .penalties._wasserstein_init import WassersteinInit as WassersteinInit
from .recipes._c_chain import c_chain as c_chain
from .recipes._feature_log_det import feature_log_det as feature_log_det
from .recipes._followed_by import followed_by as followed_by
from .recipes._paper import bp as bp, er as er, l2 as l2, l2_er as l2_er
from .recipes._presets import Preset as Preset, preset as preset, PRESETS as PRESETS
from .recipes._scales import (
    soft_weight_rescaling as soft_weight_rescaling,
    trac as trac,
    weight_clipping as weight_clipping,
)
from .recipes._task_starts import adam_local_time as adam_local_time, dash as dash, fire as fire
from .recipes._units import (
    cbp as cbp,
    cbp_l2 as cbp_l2,
    cpr as cpr,
    redo as redo,
    regrama as regrama,
    snr as snr,
)
from .recipes._weights import (
    hare_tortoise as hare_tortoise,
    l2_init as l2_init,
    layernorm_l2 as layernorm_l2,
    nap as nap,
    parseval as parseval,
    reset as reset,
    selective_reinit as selective_reinit,
    snp as snp,
    snp_l2 as snp_l2,
    spectral_reg as spectral_reg,
    upgd as upgd,
    wasserstein as wasserstein,
)
from .transforms.records._curvature_volatility import (
    CurvatureVolatility as CurvatureVolatility,
)
from .transforms.switches._sign import AbstractSign as AbstractSign
from .transforms.switches._switched_on import SwitchedOn as SwitchedOn
from .transforms.units._calibrated_partial_reset import (
    CalibratedPartialReset as CalibratedPartialReset,
)
from .transforms.units._continual_backprop import ContinualBackprop as ContinualBackprop
from .transforms.units._redo import ReDo as ReDo
from .transforms.units._regrama import ReGraMa as ReGraMa
from .transforms.units._self_normalized_reset import SelfNormalizedReset as SelfNormalizedReset
from .transforms.units._utilities import (
    adaptable_contribution as adaptable_contribution,
    adaptation as adaptation,
    contribution as contribution,
    feature_by_input as feature_by_input,
    outgoing_weight as outgoing_weight,
    random_utility as random_utility,
    UnitFacts as UnitFacts,
    zero_contribution as zero_contribution,
)
from .transforms.weights._curvature_barrier import CurvatureBarrier as CurvatureBarrier
from .transforms.weights._direction_aware_shrink import (
    DirectionAwareShrink as DirectionAwareShrink,
)
from .transforms.weights._effective_rank import EffectiveRank as EffectiveRank
from .transforms.weights._frobenius_isometry import FrobeniusIsometry as FrobeniusIsometry
from .transforms.weights._hare_tortoise import HareTortoise as HareTortoise
from .transforms.weights._inject_plasticity import InjectPlasticity as InjectPlasticity
from .transforms.weights._normalize_project import NormalizeProject as NormalizeProject
from .transforms.weights._reset import Reset as Reset
from .transforms.weights._selective_reinit import SelectiveReinit as SelectiveReinit
from .transforms.weights._shrink_perturb import ShrinkPerturb as ShrinkPerturb
from .transforms.weights._soft_weight_rescaling import SoftWeightRescaling as SoftWeightRescaling
from .transforms.weights._sparse_rewiring import SparseRewiring as SparseRewiring
from .transforms.weights._step_decay import StepDecay as StepDecay
from .transforms.weights._weight_clipping import WeightClipping as WeightClipping
