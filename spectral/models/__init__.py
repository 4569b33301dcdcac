"""Equinox networks that return their activations and describe their units."""

from ._activity import dead as dead, dormant as dormant, mean_activity as mean_activity
from ._batched import apply_network as apply_network
from ._feature_rank import (
    effective_rank as effective_rank,
    singular_values as singular_values,
    srank99 as srank99,
    stable_rank as stable_rank,
)
from ._mlp import MLP as MLP
from ._network import AbstractNetwork as AbstractNetwork
from ._units import (
    Entries as Entries,
    entries_of as entries_of,
    renew_units as renew_units,
    UnitGroup as UnitGroup,
)
