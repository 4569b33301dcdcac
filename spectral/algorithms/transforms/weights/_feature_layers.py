"""The layers whose effective rank is raised."""

from typing import Any

from jaxtyping import Array, Float

from ....models import has_units, unit_groups, vectors_of_features
from ..._base._named import matching


def feature_matrices(
    model: Any, taps: dict[str, Array], layers: tuple[str, ...] | None
) -> list[Float[Array, "_ _"]]:
    """Returns the features of the chosen layers of a batch, with a row for each vector of them.

    `None` chooses the dense hidden layers; in a network of tokens the hidden units of each block,
    and the residual stream after the last block.

    **Raises:** `ValueError` if there is no such layer, or none of a name.
    """
    matrices = vectors_of_features(model, taps)
    if layers is not None:
        return [matrices[name] for name in matching("layers", layers, matrices)]
    of_tokens = _of_tokens(model)
    if of_tokens:
        return [matrices[name] for name in of_tokens]
    # In the order of the names as texts, in which dictionaries leave a compiled program.
    dense = [taps[name] for name in sorted(taps) if taps[name].ndim == 2]
    if not dense:
        raise ValueError(
            f"`EffectiveRank` needs a dense hidden layer, but the model has none; its taps are "
            f"{sorted(taps)}: give the model one, or leave the transform out."
        )
    return dense


def _of_tokens(model: Any) -> list[str]:
    """The layers of hidden units of tokens, and the last layer of tokens that has weights and no
    replaceable units: the residual stream, before the last norm."""
    groups = [g for g in unit_groups(model) if g.tokens] if has_units(model) else []
    hidden = [g.name for g in groups if g.replaceable and not g.inside]
    stream = [g.name for g in groups if g.incoming and not g.replaceable]
    return [*hidden, *stream[-1:]]
