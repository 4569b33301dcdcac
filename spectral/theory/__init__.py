"""The paper's definitions, lemmas and theorems as functions that check their hypotheses.

A printed statement that fails is in `spectral.theory.as_printed`, with a counterexample in its
docstring; the function of that name here is the one that holds. `spectral.theory.strategies` draws
random networks to test bounds on; it needs hypothesis and has to be imported explicitly.
"""

from . import as_printed as as_printed
from ._base._proportion import Proportion as Proportion, proportion as proportion
from .curvature._cumulants import (
    cumulant_error as cumulant_error,
    factorisation_error as factorisation_error,
)
from .curvature._gram_equivalence import (
    equivalence_gap as equivalence_gap,
    gram_rank_bound as gram_rank_bound,
)
from .curvature._kronecker import (
    covariance_effective_rank as covariance_effective_rank,
    kronecker_epsilon_rank as kronecker_epsilon_rank,
    kronecker_rank_bound as kronecker_rank_bound,
)
from .curvature._residual import (
    OperatorNorm as OperatorNorm,
    output_curvature as output_curvature,
    residual_bound as residual_bound,
    residual_norm as residual_norm,
)
from .curvature._two_layer_residual import (
    two_layer_curvature as two_layer_curvature,
    two_layer_residual as two_layer_residual,
)
from .curvature._weyl import (
    eigenvalue_floor as eigenvalue_floor,
    sufficient_weight_decay as sufficient_weight_decay,
    weyl as weyl,
)
from .dead_units._dead_on_tasks import dead_on_tasks as dead_on_tasks
from .dead_units._most_dead_units import most_dead_units as most_dead_units
from .dead_units._persistence import (
    layer_shifts as layer_shifts,
    lipschitz_constants as lipschitz_constants,
    persistence_probabilities as persistence_probabilities,
    remains_dead as remains_dead,
)
from .dead_units._radii import (
    persistence_radii as persistence_radii,
    radius_errors as radius_errors,
)
from .dead_units._rank_bound import (
    dead_parameters as dead_parameters,
    dense_rank_bound as dense_rank_bound,
    hessian_rank_bound as hessian_rank_bound,
)
from .dead_units._trainability_bounds import (
    cantelli_comonotone as cantelli_comonotone,
    cantelli_independent as cantelli_independent,
    comonotone_variance as comonotone_variance,
    trainability_bound as trainability_bound,
)
from .forecast._budget import budget_epsilon as budget_epsilon
from .forecast._forecast import (
    Forecast as Forecast,
    trainability_forecast as trainability_forecast,
)
from .forecast._forecast_probe import TrainabilityForecast as TrainabilityForecast
from .forecast._trainability import (
    plastic as plastic,
    successful_training as successful_training,
    tau_trainable as tau_trainable,
    trainability as trainability,
)
from .structure._class_split import class_split as class_split, ClassSplit as ClassSplit
from .structure._clones import clone_rank_bound as clone_rank_bound, clones as clones
from .structure._cross_entropy_conditions import (
    cross_entropy_ceiling as cross_entropy_ceiling,
    cross_entropy_conditions as cross_entropy_conditions,
    cross_entropy_floor as cross_entropy_floor,
    CrossEntropyConditions as CrossEntropyConditions,
)
from .structure._deep_linear import (
    generic_linear_rank as generic_linear_rank,
    linear_rank as linear_rank,
)
from .structure._descent_conditions import (
    descent_conditions as descent_conditions,
    DescentConditions as DescentConditions,
    rank_conditions as rank_conditions,
    RankConditions as RankConditions,
)
from .structure._expected_gain import expected_gain_bound as expected_gain_bound
from .structure._gradient_bounds import (
    gradient_bounds as gradient_bounds,
    residual_spectrum as residual_spectrum,
    ResidualSpectrum as ResidualSpectrum,
)
from .structure._permuted_inputs import (
    permuted_kernel_gap as permuted_kernel_gap,
    unpermuted as unpermuted,
)
from .structure._residual_probe import ResidualEnergy as ResidualEnergy
from .task_shift._ball import ball_overlap as ball_overlap
from .task_shift._ball_bounds import (
    hausdorff_bound as hausdorff_bound,
    persistence_bound as persistence_bound,
)
from .task_shift._hausdorff import (
    directed_hausdorff as directed_hausdorff,
    hausdorff as hausdorff,
    nearest_distances as nearest_distances,
    Pairwise as Pairwise,
    TreeIndex as TreeIndex,
)
from .task_shift._hausdorff_tail import HausdorffTail as HausdorffTail
from .task_shift._union_bound import (
    hausdorff_union_bound as hausdorff_union_bound,
    hausdorff_union_quantile as hausdorff_union_quantile,
)
