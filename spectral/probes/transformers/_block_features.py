"""Ranks and activity of the parts of each block of a transformer."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import active_fraction, feature_effective_rank
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from .._base._unanswered import unanswered
from ..units._active_units import why_always_active
from ._objection_to import objection_to


class BlockFeatures(AbstractSamplingProbe):
    """Records how many directions the parts of each block of a transformer span, and which fraction
    of their activations is not 0, on `num_examples` examples. Each column is `[blocks]`:

    - `mlp_rank`, `query_rank`, `key_rank`, `value_rank`: `models.feature_effective_rank` of the
        activations of the hidden units, and of the projected queries, keys and values. Each token
        of each example is a row; the columns are not centred.
    - `stream_rank`: the same of the residual stream after the block.
    - `mlp_active`, `query_active`, `key_active`, `value_active`: the mean of
        `models.active_fraction`.

    Sun et al. (2026, arXiv 2603.07787) measure rank and activity of the first four in Vision
    Transformers. Their formulas are not known to us, so these are those of Plasticine, a package of
    the same group. `mlp_active` says something after a ReLU only, and is NaN with activations that
    are not 0 below 0, such as GELU and SwiGLU. Projections are linear, so their activity is 1
    unless weights or inputs are 0.

    It takes one forward pass and five singular value decompositions a block. No rank exceeds the
    number of rows or channels. Networks other than `GPT` and `ViT` record NaN.

    ```python
    measured = {"blocks": probes.BlockFeatures(num_examples=100)}
    ```
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        model = sampler.learner.model
        if reason := objection_to(model):
            ranks = [f"{part}_rank" for part in (*_PARTS, "stream")]
            columns = [*ranks, *(f"{part}_active" for part in _PARTS)]
            return unanswered(self, reason, dict.fromkeys(columns, (1,)))
        taps, blocks = sampler.taps(key=key), range(len(model.blocks))
        of_blocks = {part: [taps[f"block_{i}_{part}"] for i in blocks] for part in _PARTS}
        active = {f"{part}_active": _activity(of_blocks[part]) for part in _PARTS}
        if reason := why_always_active(model):
            active |= unanswered(self, reason, {"mlp_active": (len(blocks),)})
        of_blocks["stream"] = [taps[f"block_{i}"] for i in blocks]
        return {f"{part}_rank": _ranks(found) for part, found in of_blocks.items()} | active

    def quantities(self) -> dict[str, Quantity]:
        # The blocks do not collapse together, so a mean would hide the collapse of one.
        rank: dict[str, Any] = {
            "limits": (0.0, None),
            "better": "higher",
            "figure": "blocks",
            "reduce": "smallest",
        }
        active = rank | {"limits": (0.0, 1.0), "unit": "fraction"}
        label = lambda what, part: f"{what} of the {_PARTS.get(part, _STREAM)} (smallest of blocks)"
        return {
            f"{part}_rank": Quantity(label("effective rank", part), **rank)
            for part in (*_PARTS, "stream")
        } | {f"{part}_active": Quantity(label("active units", part), **active) for part in _PARTS}


_PARTS = {"mlp": "hidden units", "query": "queries", "key": "keys", "value": "values"}
_STREAM = "residual stream"


def _ranks(blocks: list[Array]) -> Array:
    rows = [jnp.swapaxes(tap, 1, 2).reshape(-1, tap.shape[1]) for tap in blocks]
    return jnp.stack([feature_effective_rank(x) for x in rows])


def _activity(blocks: list[Array]) -> Array:
    return jnp.stack([jnp.mean(active_fraction(tap)) for tap in blocks])
