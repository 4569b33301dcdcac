"""Operators say which matrix, estimators find its spectrum, questions are asked of a spectrum."""

from ._block import Block as Block, layer_blocks as layer_blocks
from ._closed_risk import closed_risk as closed_risk
from ._convex import Convex as Convex
from ._density import density as density
from ._epsilon_rank import epsilon_rank as epsilon_rank, RankEstimate as RankEstimate
from ._fisher import Fisher as Fisher
from ._gauss_newton import GaussNewton as GaussNewton
from ._gram import Gram as Gram
from ._hessian import Hessian as Hessian
from ._lanczos import Lanczos as Lanczos, sphere_probe as sphere_probe
from ._loss import AbstractLoss as AbstractLoss
from ._losses import (
    SigmoidCrossEntropy as SigmoidCrossEntropy,
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
    SquaredError as SquaredError,
)
from ._matrix import Function as Function, Matrix as Matrix
from ._operator import AbstractOperator as AbstractOperator
from ._output_factor import (
    AbstractOutputFactor as AbstractOutputFactor,
    Empirical as Empirical,
    Exact as Exact,
    Sampled as Sampled,
)
from ._risk import Risk as Risk
from ._spectrum import AbstractSpectrum as AbstractSpectrum, Mass as Mass, Spectrum as Spectrum
from ._symmetry import check_symmetric as check_symmetric
