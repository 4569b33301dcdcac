"""Operators say which matrix, estimators find its spectrum, questions are asked of a spectrum."""

from ._density import density as density
from ._epsilon_rank import epsilon_rank as epsilon_rank, RankEstimate as RankEstimate
from ._hessian import Hessian as Hessian
from ._lanczos import Lanczos as Lanczos, sphere_probe as sphere_probe
from ._operator import AbstractOperator as AbstractOperator
from ._spectrum import Spectrum as Spectrum
