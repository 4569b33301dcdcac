"""How strongly labels of the network's own would change it."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int_or_none, check_count
from ..._base._quantity import Quantity
from ...curvature import Convex, Exact, local_redundancy, Sampled
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from .._base._unanswered import unanswered


class LocalRedundancy(AbstractSamplingProbe):
    """Records `trace`, the mean squared norm of the gradients of single examples for labels drawn
    from the network (see `spectral.curvature.local_redundancy`).

    It is NaN if labels cannot be drawn, because the criterion of the stream is not the likelihood
    of any: pass `num_labels=None` there.

    **Arguments:**

    - `num_labels`: how many labels to draw for each example; each takes the time of one gradient
        over the examples. `None` takes the expectation over the labels, the trace of the
        Gauss-Newton matrix, at one gradient for each output of the network.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data.

    **Raises:** `ValueError` if a number is not a positive integer.
    """

    _: KW_ONLY
    num_labels: int | None = eqx.field(static=True, default=1, converter=as_int_or_none)

    def __check_init__(self):
        if self.num_labels is not None:
            check_count("num_labels", self.num_labels)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        forward_key, label_key = jax.random.split(key)
        risk = sampler.risk(key=forward_key)
        if self.num_labels is None:
            factor = Exact()
        elif isinstance(risk.loss, Convex):
            reason = "the criterion of the stream is not the likelihood of labels"
            return unanswered(self, reason, {"trace": ()})
        else:
            factor = Sampled(label_key, num_samples=self.num_labels)
        return {"trace": local_redundancy(risk, sampler.learner.model, factor=factor)}

    def quantities(self) -> dict[str, Quantity]:
        trace = Quantity(
            "local redundancy",
            limits=(0.0, None),
            scale="log",
            better="higher",
            figure="gradients",
            cost=self.num_labels,  # a gradient for each; for all outputs their number is not known
        )
        return {"trace": trace}
