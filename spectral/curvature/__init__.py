"""Operators say which matrix, estimators find its spectrum, questions are asked of a spectrum."""

from ._block import Block as Block, layer_blocks as layer_blocks
from ._chebyshev import Chebyshev as Chebyshev
from ._closed_risk import closed_risk as closed_risk
from ._convex import Convex as Convex
from ._deflated import Deflated as Deflated
from ._deflated_spectrum import DeflatedSpectrum as DeflatedSpectrum
from ._dense import Dense as Dense
from ._density import density as density
from ._diagonal_estimators import (
    HutchinsonDiagonal as HutchinsonDiagonal,
    XDiagonal as XDiagonal,
    XNysDiagonal as XNysDiagonal,
)
from ._directions import filter_normalised_direction as filter_normalised_direction
from ._eigenpairs import (
    Eigenpairs as Eigenpairs,
    extreme_eigenpairs as extreme_eigenpairs,
    ExtremeEigenpairs as ExtremeEigenpairs,
)
from ._ekfac import EKFAC as EKFAC
from ._epsilon_rank import epsilon_rank as epsilon_rank, RankEstimate as RankEstimate
from ._estimate import Estimate as Estimate
from ._extremes import Extremes as Extremes, extremes as extremes
from ._fisher import Fisher as Fisher
from ._gauss_newton import GaussNewton as GaussNewton
from ._gram import Gram as Gram
from ._gram_spectrum import GramSpectrum as GramSpectrum
from ._hessian import Hessian as Hessian
from ._kfac import KFAC as KFAC
from ._kfac_error import kfac_error as kfac_error
from ._kfac_spectrum import KFACSpectrum as KFACSpectrum
from ._kronecker import AbstractKronecker as AbstractKronecker, DampedInverse as DampedInverse
from ._kronecker_spectrum import KroneckerSpectrum as KroneckerSpectrum
from ._lanczos import Lanczos as Lanczos
from ._landscape import loss_landscape as loss_landscape
from ._loss import AbstractLoss as AbstractLoss
from ._losses import (
    SigmoidCrossEntropy as SigmoidCrossEntropy,
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
    SquaredError as SquaredError,
)
from ._matfree_lanczos import MatfreeLanczos as MatfreeLanczos
from ._matrix import Function as Function, Matrix as Matrix
from ._moments import (
    condition_number as condition_number,
    effective_rank as effective_rank,
    frobenius_norm as frobenius_norm,
    log_det as log_det,
    stable_rank as stable_rank,
    trace as trace,
)
from ._operator import AbstractOperator as AbstractOperator
from ._output_factor import (
    AbstractOutputFactor as AbstractOutputFactor,
    Empirical as Empirical,
    Exact as Exact,
    Sampled as Sampled,
)
from ._probe_vectors import (
    AbstractProbeVector as AbstractProbeVector,
    Normal as Normal,
    probe_key as probe_key,
    Signs as Signs,
    Sphere as Sphere,
    sphere_probe as sphere_probe,
)
from ._risk import Risk as Risk
from ._sharing import AbstractSharing as AbstractSharing, Expand as Expand, Reduce as Reduce
from ._smoothed_density_mass import smoothed_density_mass as smoothed_density_mass
from ._spectrum import AbstractSpectrum as AbstractSpectrum, Mass as Mass, Spectrum as Spectrum
from ._spectrum_of import spectrum_of as spectrum_of
from ._symmetry import check_symmetric as check_symmetric
from ._trace_estimators import (
    Hutchinson as Hutchinson,
    XNysTrace as XNysTrace,
    XTrace as XTrace,
)
