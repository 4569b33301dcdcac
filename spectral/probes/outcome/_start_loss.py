"""The loss before a task is learnt."""

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from .._base._cost import FORWARD
from .._base._probe import When
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe


class StartLoss(AbstractSamplingProbe):
    """Records `loss`, the stream's criterion without penalties on `num_examples` examples of the
    coming task, before its first step.

    A trivial predictor: a sign of lost plasticity should say more than this number, which rises as
    networks become overconfident. `trivial_predictors` has two others. It takes one forward pass.

    ```python
    train_continual(model, stream, algo, probes={"start": probes.StartLoss(num_examples=50)})
    ```
    """

    when: tuple[When, ...] = eqx.field(static=True, default=("start",), kw_only=True)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        return {"loss": sampler.risk(key=key)(sampler.learner.model)}

    def quantities(self) -> dict[str, Quantity]:
        return {"loss": Quantity("loss before the task", figure="loss", cost=FORWARD)}
