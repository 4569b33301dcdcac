"""A layer that a network uses."""

import equinox as eqx

from ._call import Call


class Layer(eqx.Module):
    """A layer and the indices of its arrays in the flattened parameters.

    Normalisation layers and arrays that belong to no layer record no calls; their numbers count as
    a single row of weights. `dense` says whether their exact block is written out, or only its
    diagonal.
    """

    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)
    calls: tuple[Call, ...] = eqx.field(static=True)
    dense: bool = eqx.field(static=True, default=True)
