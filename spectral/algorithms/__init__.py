"""Transforms of a learner, penalties, optimisers, and the named recipes made of them."""

from ._adam import adam as adam, entrywise_adam as entrywise_adam
from ._base import (
    AbstractPenalty as AbstractPenalty,
    AbstractTransform as AbstractTransform,
    Algorithm as Algorithm,
    AlgorithmState as AlgorithmState,
)
from ._continual_backprop import ContinualBackprop as ContinualBackprop
from ._curvature_barrier import CurvatureBarrier as CurvatureBarrier
from ._effective_rank import EffectiveRank as EffectiveRank
from ._every import Every as Every
from ._followed_by import followed_by as followed_by
from ._hare_tortoise import HareTortoise as HareTortoise
from ._l2 import L2 as L2
from ._l2_init import L2Init as L2Init
from ._muon import equinox_muon as equinox_muon, muon as muon
from ._normalize_project import NormalizeProject as NormalizeProject
from ._parseval import Parseval as Parseval
from ._presets import Preset as Preset, preset as preset, PRESETS as PRESETS
from ._rate_steps import RateSteps as RateSteps
from ._recipes import bp as bp, er as er, l2 as l2, l2_er as l2_er
from ._redo import ReDo as ReDo
from ._regrama import ReGraMa as ReGraMa
from ._reset import Reset as Reset
from ._self_normalized_reset import SelfNormalizedReset as SelfNormalizedReset
from ._sgd import sgd as sgd
from ._shrink_perturb import ShrinkPerturb as ShrinkPerturb
from ._sparse_rewiring import SparseRewiring as SparseRewiring
from ._spectral_norm import SpectralNorm as SpectralNorm
from ._unit_recipes import (
    cbp as cbp,
    cbp_l2 as cbp_l2,
    redo as redo,
    regrama as regrama,
    snr as snr,
)
from ._upgd import perturbed_adam as perturbed_adam, perturbed_sgd as perturbed_sgd
from ._utilities import (
    adaptable_contribution as adaptable_contribution,
    adaptation as adaptation,
    contribution as contribution,
    feature_by_input as feature_by_input,
    outgoing_weight as outgoing_weight,
    random_utility as random_utility,
    UnitFacts as UnitFacts,
    zero_contribution as zero_contribution,
)
from ._wasserstein_init import WassersteinInit as WassersteinInit
from ._weight_recipes import (
    hare_tortoise as hare_tortoise,
    l2_init as l2_init,
    layernorm_l2 as layernorm_l2,
    nap as nap,
    parseval as parseval,
    reset as reset,
    snp as snp,
    snp_l2 as snp_l2,
    spectral_reg as spectral_reg,
    upgd as upgd,
    wasserstein as wasserstein,
)
