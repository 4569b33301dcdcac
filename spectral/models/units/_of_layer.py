"""Unit groups of layers, from the positions of the layers in the model."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jaxtyping import Array

from ..layers._batch_norm import BatchNorm
from ..layers._initialisers import AbstractInitialiser
from ..layers._sparse import Sparse
from ..layers.activations._activation import AbstractActivation
from ._entries import Entries
from ._unit_group import UnitGroup


def unit_group(
    model: Any,
    name: str,
    layer: Callable[[Any], Any],
    into: Callable[[Any], Any] | None,
    activation: Callable[[Any], AbstractActivation],
    *,
    initialiser: AbstractInitialiser,
    norm: Callable[[Any], Any] | None = None,
    repeat: int = 1,
    seen: Callable[[Array], Array] | None = None,
) -> UnitGroup:
    """Returns the outputs of a dense layer or convolution as a group of units.

    **Arguments:**

    - `layer`: where in `model` the layer is, as in `eqx.tree_at`.
    - `into`: where the layer that reads these units is, or `None` if there is more than one.
    - `activation`: where the activation of the layer is.
    - `initialiser`: the initialiser of the weights of the layer.
    - `norm`: where the normalisation between the layer and its activation is, if there is one.
    - `repeat`: inputs of `into` per activation.
    - `seen`: what `into` sees of the activations of a batch, see `UnitGroup`.
    """
    size = layer(model).weight.shape[0]
    copies = activation(model).copies
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
        activation=tuple(
            Entries(lambda m, p=parameter: p.where(activation(m)), 0, draw=parameter.draw)
            for parameter in activation(model).unit_parameters()
        ),
        statistics=statistics,
        copies=copies,
        seen=seen,
    )


def successive_groups(
    model: Any,
    names: Sequence[str],
    layers: Callable[[Any], Sequence[Any]],
    *,
    initialiser: AbstractInitialiser,
    repeat: Mapping[str, int] = MappingProxyType({}),
    seen: Mapping[str, Callable[[Array], Array]] = MappingProxyType({}),
) -> tuple[UnitGroup, ...]:
    """Returns one group for each hidden layer of a model in which every layer reads the one before.

    **Arguments:**

    - `names`: the names of the hidden layers.
    - `layers`: the hidden layers of a model, followed by the layer of its outputs. The hidden
      layers have the norms `model.norms` and the activations `model.activations`.
    - `repeat`: inputs of the next layer per activation, for layers where this is not 1.
    - `seen`: what the next layer sees of the activations, for layers where it is something else.
    """
    return tuple(
        unit_group(
            model,
            name,
            lambda m, i=i: layers(m)[i],
            lambda m, i=i: layers(m)[i + 1],
            lambda m, i=i: m.activations[i],
            initialiser=initialiser,
            norm=None if norm is None else lambda m, i=i: m.norms[i],
            repeat=repeat.get(name, 1),
            seen=seen.get(name),
        )
        for i, (name, norm) in enumerate(zip(names, model.norms, strict=True))
    )


def _mask(model: Any, layer: Callable[[Any], Any]) -> Callable[[Any], Array] | None:
    return (lambda m: layer(m).mask) if isinstance(layer(model), Sparse) else None
