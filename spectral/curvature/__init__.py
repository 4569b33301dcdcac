"""Operators say which matrix, estimators find its spectrum, questions are asked of a spectrum."""

from ._convex import Convex as Convex
from ._density import density as density
from ._epsilon_rank import epsilon_rank as epsilon_rank, RankEstimate as RankEstimate
from ._hessian import Hessian as Hessian
from ._lanczos import Lanczos as Lanczos, sphere_probe as sphere_probe
from ._loss import AbstractLoss as AbstractLoss
from ._losses import (
    SigmoidCrossEntropy as SigmoidCrossEntropy,
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
    SquaredError as SquaredError,
)
from ._operator import AbstractOperator as AbstractOperator
from ._risk import Risk as Risk
from ._spectrum import AbstractSpectrum as AbstractSpectrum, Mass as Mass, Spectrum as Spectrum
