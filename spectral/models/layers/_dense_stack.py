"""Dense hidden layers on top of one another, and the dense layer of the outputs."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from ._initialised import activate, sparse_dense
from ._initialisers import AbstractInitialiser
from ._sparse import Sparse
from .activations._activation import AbstractActivation


def dense_stack(
    in_size: int,
    hidden_sizes: Sequence[int],
    out_size: int,
    *,
    copies: int,
    initialiser: AbstractInitialiser,
    head_initialiser: AbstractInitialiser | None = None,
    density: float,
    keys: Sequence[PRNGKeyArray],
) -> tuple[eqx.nn.Linear | Sparse, ...]:
    """Returns the hidden layers and the layer of the outputs, one for each of `keys`.

    Every hidden unit has `copies` activations. Hidden layers have the fraction `density` of their
    connections, the layer of the outputs has all. `head_initialiser` draws the layer of the
    outputs, by default `initialiser`.
    """
    in_sizes = [in_size, *(copies * size for size in hidden_sizes)]
    out_sizes = [*hidden_sizes, out_size]
    densities = [*(density for _ in hidden_sizes), 1.0]
    head = initialiser if head_initialiser is None else head_initialiser
    initialisers = [*(initialiser for _ in hidden_sizes), head]
    return tuple(
        sparse_dense(m, n, initialiser=i, density=d, key=k)
        for m, n, i, d, k in zip(in_sizes, out_sizes, initialisers, densities, keys, strict=True)
    )


def apply_hidden(
    name: str,
    layers: Sequence[eqx.nn.Linear | Sparse],
    norms: Sequence[eqx.nn.LayerNorm | None],
    activations: Sequence[AbstractActivation],
    x: Float[Array, " inputs"],
    keys: Sequence[PRNGKeyArray | None],
) -> tuple[Float[Array, " features"], dict[str, Float[Array, " _"]]]:
    """Apply hidden layers, each followed by its norm and its activation.

    `keys` has a key for each activation. Returns the activations of the last layer, and the taps
    `{name}_0`, `{name}_1`, ... of all layers.
    """
    taps = {}
    parts = zip(layers, norms, activations, keys, strict=True)
    for i, (layer, norm, activation, key) in enumerate(parts):
        x = taps[f"{name}_{i}"] = activate(norm, activation, layer(x), key=key)
    return x, taps


def options_of(model: Any) -> dict[str, Any]:
    """Returns the options `activation`, `layer_norm`, `density` and `initialiser` with which a
    network of successive layers was made."""
    return {
        "activation": model.activations[0] if model.activations else "relu",
        "layer_norm": any(norm is not None for norm in model.norms),
        "density": model.density,
        "initialiser": model.initialiser,
    }
