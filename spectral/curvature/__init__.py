"""Operators say which matrix, estimators find its spectrum, questions are asked of a spectrum."""

from .estimators._vectors import (
    AbstractVectorDistribution as AbstractVectorDistribution,
    Normal as Normal,
    Rademacher as Rademacher,
    Sphere as Sphere,
    sphere_vector as sphere_vector,
    vector_key as vector_key,
)
from .estimators.spectrum._chebyshev import Chebyshev as Chebyshev
from .estimators.spectrum._deflated import Deflated as Deflated
from .estimators.spectrum._dense import Dense as Dense
from .estimators.spectrum._eigenpairs import (
    Eigenpairs as Eigenpairs,
    extreme_eigenpairs as extreme_eigenpairs,
    ExtremeEigenpairs as ExtremeEigenpairs,
)
from .estimators.spectrum._gram_eigh import GramEigh as GramEigh
from .estimators.spectrum._kronecker_eigh import KroneckerEigh as KroneckerEigh
from .estimators.spectrum._lanczos import Lanczos as Lanczos
from .estimators.spectrum._lobpcg import lobpcg_eigenpairs as lobpcg_eigenpairs
from .estimators.spectrum._matfree_lanczos import MatfreeLanczos as MatfreeLanczos
from .estimators.spectrum._matrix_function import (
    FunctionProduct as FunctionProduct,
    matrix_function as matrix_function,
)
from .estimators.spectrum._orthogonalisation import (
    AbstractOrthogonalisation as AbstractOrthogonalisation,
    Full as Full,
    NoOrthogonalisation as NoOrthogonalisation,
)
from .estimators.spectrum._spectrum_of import spectrum_of as spectrum_of
from .estimators.trace._diagonal import (
    HutchinsonDiagonal as HutchinsonDiagonal,
    XDiagonal as XDiagonal,
    XNysDiagonal as XNysDiagonal,
)
from .estimators.trace._exact_diagonal import ExactDiagonal as ExactDiagonal
from .estimators.trace._hutch_plus_plus import HutchPlusPlus as HutchPlusPlus
from .estimators.trace._trace import (
    Hutchinson as Hutchinson,
    XNysTrace as XNysTrace,
    XTrace as XTrace,
)
from .gradients._collinearity import (
    Collinearity as Collinearity,
    gradient_collinearity as gradient_collinearity,
)
from .gradients._fisher_rank import (
    empirical_fisher_rank as empirical_fisher_rank,
    FisherRank as FisherRank,
)
from .gradients._local_redundancy import local_redundancy as local_redundancy
from .gradients._moments import (
    gradient_moments as gradient_moments,
    GradientMoments as GradientMoments,
    layer_moments as layer_moments,
    moments_of_minibatches as moments_of_minibatches,
)
from .gradients._neural_tangent import neural_tangent_spectrum as neural_tangent_spectrum
from .gradients._noise_scale import (
    gradient_noise_scale as gradient_noise_scale,
    noise_bound as noise_bound,
)
from .gradients._one_step_gain import (
    noisy_one_step_gain as noisy_one_step_gain,
    NoisyOneStepGain as NoisyOneStepGain,
    one_step_gain as one_step_gain,
    OneStepGain as OneStepGain,
)
from .gradients._parameter_ratio import (
    gradient_to_parameter_ratio as gradient_to_parameter_ratio,
    ParameterRatio as ParameterRatio,
)
from .gradients._products import (
    gradient_products as gradient_products,
    GradientProducts as GradientProducts,
)
from .gradients._readiness import (
    optimisation_readiness as optimisation_readiness,
    Readiness as Readiness,
)
from .gradients._volatility import volatility as volatility
from .kronecker._ekfac import EKFAC as EKFAC
from .kronecker._factored_inverse import FactoredInverse as FactoredInverse
from .kronecker._kfac import KFAC as KFAC
from .kronecker._kfac_error import kfac_error as kfac_error
from .kronecker._kronecker import (
    AbstractKronecker as AbstractKronecker,
    DampedInverse as DampedInverse,
)
from .kronecker._sharing import (
    AbstractSharing as AbstractSharing,
    Expand as Expand,
    Reduce as Reduce,
)
from .landscape._directions import filter_normalised_direction as filter_normalised_direction
from .landscape._landscape import loss_landscape as loss_landscape
from .operators._block import Block as Block, layer_blocks as layer_blocks
from .operators._example_gradients import example_gradients as example_gradients
from .operators._fisher import Fisher as Fisher
from .operators._gauss_newton import GaussNewton as GaussNewton
from .operators._gram import Gram as Gram
from .operators._hessian import Hessian as Hessian
from .operators._inverse import Inverse as Inverse, Solution as Solution
from .operators._jacobian import jacobian as jacobian
from .operators._matrix import Function as Function, Matrix as Matrix
from .operators._operator import AbstractOperator as AbstractOperator
from .operators._output_factor import (
    AbstractOutputFactor as AbstractOutputFactor,
    Empirical as Empirical,
    Exact as Exact,
    Sampled as Sampled,
)
from .operators._symmetry import check_symmetric as check_symmetric
from .risk._batch_dependence import check_batch_independent as check_batch_independent
from .risk._closed_risk import closed_risk as closed_risk
from .risk._convex import Convex as Convex
from .risk._loss import AbstractLoss as AbstractLoss
from .risk._losses import (
    SigmoidCrossEntropy as SigmoidCrossEntropy,
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
    SquaredError as SquaredError,
)
from .risk._risk import Risk as Risk
from .risk.examples._batches import Batches as Batches
from .risk.examples._sharded import Sharded as Sharded
from .spectra._deflated_spectrum import DeflatedSpectrum as DeflatedSpectrum
from .spectra._density import density as density
from .spectra._energy_rank import spectral_energy_rank as spectral_energy_rank
from .spectra._epsilon_rank import (
    epsilon_rank as epsilon_rank,
    normalised_epsilon_rank as normalised_epsilon_rank,
    RankEstimate as RankEstimate,
)
from .spectra._estimate import Estimate as Estimate
from .spectra._extremes import Extremes as Extremes, extremes as extremes
from .spectra._kronecker_spectrum import KroneckerSpectrum as KroneckerSpectrum
from .spectra._log_density import log_density as log_density
from .spectra._moments import (
    condition_number as condition_number,
    frobenius_norm as frobenius_norm,
    log_det as log_det,
    spectral_effective_rank as spectral_effective_rank,
    spectral_stable_rank as spectral_stable_rank,
    trace as trace,
)
from .spectra._smoothed_density_mass import smoothed_density_mass as smoothed_density_mass
from .spectra._spectrum import (
    AbstractSpectrum as AbstractSpectrum,
    Spectrum as Spectrum,
    TailMass as TailMass,
)
