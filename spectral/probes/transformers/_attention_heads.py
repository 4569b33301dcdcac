"""Signs of lost plasticity in attention heads."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import check_fraction
from ..._base._quantity import Quantity
from ...models import (
    attention_entropy,
    attention_logits,
    collapsed_heads,
    head_outputs,
    head_redundancy,
    largest_logit,
    lazy_heads,
)
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from .._base._unanswered import unanswered
from ._objection_to import objection_to


class AttentionHeads(AbstractSamplingProbe):
    """Records what the attention heads of each block of a transformer do on `num_examples`
    examples. The columns are:

    - `entropy`, `[blocks, heads]`: the entropy of the weights as a fraction of its maximum, which
        is the logarithm of the number of positions that a token may attend to, see
        `models.attention_entropy`.
    - `lazy`, `collapsed`: the fractions of all heads that are near-uniform and near-one-hot, with
        an entropy above `lazy_threshold` and below `collapsed_threshold`, see `models.lazy_heads`
        and `models.collapsed_heads`.
    - `largest_logit`, `[blocks, heads]`: see `models.largest_logit`.
    - `redundancy`, `[blocks]`: the mean cosine of what two heads add to the residual stream, see
        `models.head_redundancy`.

    It takes one forward pass, and the products of queries and keys of all tokens of the examples.
    Sequences of one token have no `entropy`, and blocks of one head no `redundancy`; these are NaN.
    Networks other than `GPT` and `ViT` record NaN.

    ```python
    measured = {"heads": probes.AttentionHeads(num_examples=100)}
    ```

    **Raises:** `ValueError` if a threshold is not between 0 and 1, or if `num_examples` is not a
    positive integer.
    """

    _: KW_ONLY
    lazy_threshold: float = eqx.field(static=True, default=0.9)
    collapsed_threshold: float = eqx.field(static=True, default=0.1)

    def __check_init__(self):
        check_fraction("lazy_threshold", self.lazy_threshold)
        check_fraction("collapsed_threshold", self.collapsed_threshold)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        model = sampler.learner.model
        if reason := objection_to(model):
            shapes = {"entropy": (1, 1), "lazy": (), "collapsed": ()}
            return unanswered(self, reason, shapes | {"largest_logit": (1, 1), "redundancy": (1,)})
        taps = sampler.taps(key=key)
        logits = [*attention_logits(model, taps).values()]
        found = {"largest_logit": jnp.stack([largest_logit(block) for block in logits])}
        return found | self._entropy(logits) | self._redundancy(model, taps)

    def _entropy(self, logits: list[Array]) -> dict[str, Array]:
        shape = (len(logits), logits[0].shape[1])
        if logits[0].shape[-1] == 1:
            reason = "its sequences have one token, which attends to itself alone"
            return unanswered(self, reason, {"entropy": shape, "lazy": (), "collapsed": ()})
        lazy = [lazy_heads(block, threshold=self.lazy_threshold) for block in logits]
        collapsed = [collapsed_heads(block, threshold=self.collapsed_threshold) for block in logits]
        return {
            "entropy": jnp.stack([attention_entropy(block) for block in logits]),
            "lazy": jnp.mean(jnp.stack(lazy), dtype=float),
            "collapsed": jnp.mean(jnp.stack(collapsed), dtype=float),
        }

    def _redundancy(self, model: Any, taps: dict[str, Array]) -> dict[str, Array]:
        outputs = head_outputs(model, taps).values()
        if all(block.shape[1] == 1 for block in outputs):
            reason = "its blocks have one head, and redundancy is that of pairs"
            return unanswered(self, reason, {"redundancy": (len(outputs),)})
        return {"redundancy": jnp.stack([head_redundancy(block) for block in outputs])}

    def quantities(self) -> dict[str, Quantity]:
        fraction: dict[str, Any] = {
            "unit": "fraction",
            "limits": (0.0, 1.0),
            "better": "lower",
            "figure": "attention",
        }
        return {
            "entropy": Quantity(
                "attention entropy", unit="of its maximum", limits=(0.0, 1.0), figure="attention"
            ),
            "lazy": Quantity("lazy heads", **fraction),
            "collapsed": Quantity("collapsed heads", **fraction),
            "largest_logit": Quantity(
                "largest logit of attention", reduce="largest", better="lower", figure="attention"
            ),
            "redundancy": Quantity(
                "head redundancy", limits=(-1.0, 1.0), better="lower", figure="attention"
            ),
        }
