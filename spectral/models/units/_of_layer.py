"""The units of a layer, from where the layer and the one it leads to are."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from ..layers._batch_norm import BatchNorm
from ..layers._initialisers import AbstractInitialiser
from ..layers._sparse import Sparse
from ._entries import Entries
from ._unit_group import UnitGroup


def unit_group(
    model: Any,
    name: str,
    layer: Callable[[Any], Any],
    into: Callable[[Any], Any] | None,
    *,
    initialiser: AbstractInitialiser,
    norm: Callable[[Any], Any] | None = None,
    repeat: int = 1,
    copies: int = 1,
) -> UnitGroup:
    """The outputs of a dense layer or convolution as units.

    **Arguments:**

    - `layer`: where in `model` the layer is, as in `eqx.tree_at`.
    - `into`: where the layer is whose inputs are these units, or `None` if there is not one alone.
    - `initialiser`: what the weights of the layer were drawn by.
    - `norm`: where the normalisation between the layer and its activation is, if there is one.
    - `repeat`, `copies`: inputs of `into` for each activation, and activations for each unit.
    """
    size = layer(model).weight.shape[0]
    incoming = Entries(lambda m: layer(m).weight, 0, mask=_mask(model, layer))
    biases = () if layer(model).bias is None else (Entries(lambda m: layer(m).bias, 0),)
    if into is None:
        outgoing = ()
    else:
        outgoing = (
            Entries(
                lambda m: into(m).weight,
                1,
                repeat=repeat,
                tile=copies,
                fed_bias=lambda m: into(m).bias,
                mask=_mask(model, into),
            ),
        )
    statistics = ()
    if norm is not None and isinstance(norm(model), BatchNorm):
        statistics = (norm,)
    return UnitGroup(
        name=name,
        size=size,
        incoming=(incoming,),
        bias=biases,
        outgoing=outgoing,
        draw=lambda key, shape: initialiser.rows(key, shape, size),
        scale=() if norm is None else (Entries(lambda m: norm(m).weight, 0),),
        shift=() if norm is None else (Entries(lambda m: norm(m).bias, 0),),
        statistics=statistics,
        copies=copies,
    )


def _mask(model: Any, layer: Callable[[Any], Any]) -> Callable[[Any], Array] | None:
    return (lambda m: layer(m).mask) if isinstance(layer(model), Sparse) else None
