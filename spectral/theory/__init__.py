"""The paper's definitions, lemmas and theorems as functions that check their hypotheses.

Where a printed statement fails there are two functions: one named `..._as_printed`, whose docstring
gives a counterexample, and one that holds. Random networks to try bounds on are in
`spectral.theory.strategies`, which needs hypothesis and is imported by itself.
"""

from ._ball import ball_overlap as ball_overlap
from ._ball_bounds import (
    hausdorff_bound as hausdorff_bound,
    hausdorff_bound_as_printed as hausdorff_bound_as_printed,
    hausdorff_union_bound as hausdorff_union_bound,
    persistence_bound as persistence_bound,
    persistence_bound_as_printed as persistence_bound_as_printed,
)
from ._cumulants import (
    cumulant_error as cumulant_error,
    cumulant_error_as_printed as cumulant_error_as_printed,
    factorisation_error as factorisation_error,
)
from ._forecast import (
    budget_epsilon as budget_epsilon,
    Forecast as Forecast,
    trainability_forecast as trainability_forecast,
)
from ._forecast_probe import TrainabilityForecast as TrainabilityForecast
from ._gram_equivalence import (
    equivalence_gap as equivalence_gap,
    gram_rank_bound as gram_rank_bound,
)
from ._hausdorff import (
    hausdorff as hausdorff,
    nearest_distances as nearest_distances,
    one_sided_hausdorff as one_sided_hausdorff,
    Pairwise as Pairwise,
    TreeIndex as TreeIndex,
)
from ._hausdorff_tail import HausdorffTail as HausdorffTail
from ._kronecker import (
    covariance_effective_rank as covariance_effective_rank,
    kronecker_epsilon_rank as kronecker_epsilon_rank,
    kronecker_rank_bound as kronecker_rank_bound,
)
from ._persistence import (
    layer_shifts as layer_shifts,
    lipschitz_constants as lipschitz_constants,
    persistence_probabilities as persistence_probabilities,
    persistence_radii as persistence_radii,
    remains_dead as remains_dead,
)
from ._proportion import Proportion as Proportion, proportion as proportion
from ._rank_bound import (
    dead_parameters as dead_parameters,
    dense_rank_bound as dense_rank_bound,
    hessian_rank_bound as hessian_rank_bound,
    most_dead_units as most_dead_units,
)
from ._residual import (
    OperatorNorm as OperatorNorm,
    output_curvature as output_curvature,
    residual_bound as residual_bound,
    residual_bound_as_printed as residual_bound_as_printed,
    residual_norm as residual_norm,
    two_layer_curvature as two_layer_curvature,
)
from ._trainability import (
    plastic as plastic,
    successful_training as successful_training,
    tau_trainable as tau_trainable,
    trainability as trainability,
)
from ._trainability_bounds import (
    cantelli_comonotone as cantelli_comonotone,
    cantelli_independent as cantelli_independent,
    comonotone_variance as comonotone_variance,
    trainability_bound as trainability_bound,
    trainability_bound_as_printed as trainability_bound_as_printed,
)
from ._weyl import (
    eigenvalue_floor as eigenvalue_floor,
    least_positive_floor_as_printed as least_positive_floor_as_printed,
    sufficient_weight_decay as sufficient_weight_decay,
    weyl_as_printed as weyl_as_printed,
)
