"""Blocks of the weight and of the bias of a layer, instead of one for both."""

from ._capture import Layer, Recorded


def separated(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """One layer for the weight and one for the bias of each layer that has both.

    The blocks of normalisation layers are exact for scale and shift together, and stay whole.
    """
    found = []
    for layer in layers:
        if not _is_joint(layer):
            found.append(layer)
            continue
        prefix = "" if layer.name == "itself" else f"{layer.name}."
        for leaf, part in zip(layer.leaves, ("weight", "bias"), strict=True):
            found.append(Layer(f"{prefix}{part}", (leaf,), layer.calls))
    return tuple(found)


def separate_records(layers: tuple[Layer, ...], records: tuple[Recorded, ...]) -> list[Recorded]:
    """The records of `separated(layers)`: the input of the bias is its 1."""
    found = []
    for layer, own in zip(layers, records, strict=True):
        if _is_joint(layer):
            found.append(Recorded(own.inputs[..., :-1], own.gradients))
            found.append(Recorded(own.inputs[..., -1:], own.gradients))
        else:
            found.append(own)
    return found


def _is_joint(layer: Layer) -> bool:
    return bool(layer.calls) and len(layer.leaves) == 2
