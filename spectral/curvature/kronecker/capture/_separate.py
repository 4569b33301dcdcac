"""Blocks of the weight and of the bias of a layer, instead of one for both."""

import numpy as np

from ._layer import Layer
from ._records import AbstractRecord


Records = tuple[AbstractRecord, ...]


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


def separate_records(layers: tuple[Layer, ...], records: tuple[Records, ...]) -> list[Records]:
    """The records of `separated(layers)`: the input of the bias is its 1."""
    found = []
    for layer, own in zip(layers, records, strict=True):
        if not _is_joint(layer):
            found.append(own)
            continue
        (record,) = own  # a layer with a bias has one kind of use
        is_bias = np.arange(record.dense.inputs.shape[-1]) == record.dense.inputs.shape[-1] - 1
        found += [(record.within(~is_bias),), (record.within(is_bias),)]
    return found


def _is_joint(layer: Layer) -> bool:
    return bool(layer.calls) and len(layer.leaves) == 2
