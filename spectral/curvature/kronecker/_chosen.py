"""Kronecker factors of some layers of a network only."""

from collections.abc import Sequence

import jax
from jaxtyping import PyTree

from ..risk._held import hold
from ..risk._parameters import split_parameters
from ..risk._risk import Risk
from .capture._layers import layer_name


def choose_layers(risk: Risk, params: PyTree, layers: Sequence[str] | None) -> tuple[Risk, PyTree]:
    """The same risk as a function of the parameters at these paths; the others are held constant.

    A path is that of a layer or of a node that contains layers. `None` stands for all of them.

    **Raises:** `ValueError` if there are no paths, or if one contains no parameters.
    """
    if layers is None:
        return risk, params
    dynamic, _ = split_parameters(params)
    paths, structure = jax.tree_util.tree_flatten_with_path(dynamic)
    names = [layer_name(path) for path, _ in paths]
    unknown = [layer for layer in layers if not any(_inside(name, layer) for name in names)]
    if unknown or not layers:
        known = ", ".join(dict.fromkeys(layer_name(path[:-1]) for path, _ in paths))
        raise ValueError(
            f"`layers` is {tuple(layers)!r}, but must name at least one layer, and only paths to "
            f"parameters of the network, such as these layers: {known}. Pass some of them."
        )
    kept = structure.unflatten(any(_inside(name, layer) for layer in layers) for name in names)
    return hold(risk, params, kept)


def _inside(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.")
