"""The statements of the paper that fail, as printed.

Each has the name of the function of `spectral.theory` that holds in its place, if there is one. Its
docstring gives a counterexample.
"""

from ._ball_bounds import (
    hausdorff_bound as hausdorff_bound,
    persistence_bound as persistence_bound,
)
from ._cumulants import cumulant_error as cumulant_error
from ._residual import residual_bound as residual_bound
from ._trainability_bounds import trainability_bound as trainability_bound
from ._weyl import smallest_positive_floor as smallest_positive_floor, weyl as weyl
