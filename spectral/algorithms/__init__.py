"""Transforms of a learner, penalties, and the named recipes made of them."""

from ._base import (
    AbstractPenalty as AbstractPenalty,
    AbstractTransform as AbstractTransform,
    Algorithm as Algorithm,
    AlgorithmState as AlgorithmState,
)
from ._effective_rank import EffectiveRank as EffectiveRank
from ._every import Every as Every
from ._l2 import L2 as L2
from ._recipes import bp as bp, er as er, l2 as l2, l2_er as l2_er
