"""Probes that measure on examples of the current task."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int, check_count
from ..._base._returned import check_row
from ..._types import Learner
from ...tasks import AbstractTaskStream, Split
from ._boundary import Boundary
from ._probe import AbstractProbe, When
from ._sampler import Sampler


class AbstractSamplingProbe(AbstractProbe):
    """A probe that measures on `num_examples` examples of the current task, from one split.

    All probes with equal `num_examples` and `split` see the same examples at a task boundary, so
    that differences between their measurements are not differences between examples. A subclass
    defines `measure`:

    ```python
    from spectral.probes import AbstractSamplingProbe

    class TrainingLoss(AbstractSamplingProbe):
        def measure(self, sampler, *, key):
            return {"loss": sampler.risk(key=key)(sampler.learner.model)}

    measured = {"training": TrainingLoss(num_examples=20)}  # train_continual(..., probes=measured)
    ```

    **Raises:** `ValueError` if `num_examples` is not a positive integer.
    """

    _: KW_ONLY
    num_examples: int = eqx.field(static=True, default=1000, converter=as_int)
    split: Split = eqx.field(static=True, default="train")
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __check_init__(self):
        check_count("num_examples", self.num_examples)

    def __call__(
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        boundary: Boundary | None = None,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        # Called by hand, a probe has no boundary, and draws its own examples.
        drawn = key if boundary is None else boundary.sample_key
        initial = None if boundary is None else boundary.initial
        given = (learner, stream, stream_state, self.num_examples, self.split, drawn)
        sampler = Sampler(*given, initial=initial)
        found = self.measure(sampler, key=key)
        check_row(self, "measure", found)
        return found

    @abstractmethod
    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        """Returns the measurements by name. `key` is derived from the name of the probe."""
