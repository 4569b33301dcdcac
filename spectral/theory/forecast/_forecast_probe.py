"""The forecast of each task of a run."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int_or_none, check_above
from ..._base._quantity import Quantity
from ...probes import AbstractSamplingProbe, Sampler, When
from ...tasks import Split
from ._budget import check_budget
from ._forecast import trainability_forecast


class TrainabilityForecast(AbstractSamplingProbe):
    """Records `trainability_forecast` at the start of tasks, on examples of the new task.

    The columns are `loss`, the forecast of the training loss at the end of the task, and
    `initial_loss`, `epsilon`, `directions`, `largest` and `trainable` (1 or 0). The history holds
    the outcome to compare with: `loss` of the last chunk, or the loss at the end of the task that
    `probes.GradientNorm(when=("end",))` measures. The forecast knows gradient descent and weight
    decay, not other parts of an algorithm.

    ```python
    from spectral import theory

    forecast = theory.TrainabilityForecast(lr=0.01, target=1.0, num_examples=10)
    train_continual(model, stream, algo, probes={"forecast": forecast})
    ```

    **Arguments:**

    - `lr`: the learning rate of the algorithm's gradient steps.
    - `target`: the training loss that counts as success.
    - `steps`: the number of gradient steps in a task; by default that of the stream, if all of its
        tasks have the same number of steps.
    - `shrinkage`: see `trainability_forecast`.
    - `weight_decay`: that of the algorithm, as in `L2`; by default 0.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data. Time
        grows with the square of examples times outputs.

    **Raises:** `ValueError` if a number is outside the range that `trainability_forecast` allows;
    when called, if `steps` is not given and the stream may skip minibatches.
    """

    lr: Float[Array, ""]
    target: Float[Array, ""]
    shrinkage: Float[Array, ""]
    weight_decay: Float[Array, ""]
    steps: int | None = eqx.field(static=True, converter=as_int_or_none)

    def __init__(
        self,
        *,
        lr: float | Float[Array, ""],
        target: float | Float[Array, ""],
        steps: int | None = None,
        shrinkage: float | Float[Array, ""] = 0.5,
        weight_decay: float | Float[Array, ""] = 0.0,
        num_examples: int = 100,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        check_above("target", target, 0, strict=False)
        check_budget(lr, 1 if steps is None else steps, shrinkage, weight_decay)
        super().__init__(num_examples=num_examples, split=split, when=when, every=every)
        self.lr = jnp.asarray(lr, dtype=float)
        self.target = jnp.asarray(target, dtype=float)
        self.shrinkage = jnp.asarray(shrinkage, dtype=float)
        self.weight_decay = jnp.asarray(weight_decay, dtype=float)
        self.steps = steps

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        forecast = trainability_forecast(
            sampler.risk(key=key),
            sampler.learner.model,
            lr=self.lr,
            steps=_steps_of_a_task(sampler) if self.steps is None else self.steps,
            target=self.target,
            shrinkage=self.shrinkage,
            weight_decay=self.weight_decay,
        )
        columns = ("loss", "initial_loss", "epsilon", "directions", "largest", "trainable")
        return {column: getattr(forecast, column) for column in columns}

    def quantities(self) -> dict[str, Quantity]:
        forecast = Quantity("forecast of the training loss", better="lower", figure="forecast")
        trainable = Quantity(
            "forecast trainable", unit="fraction", limits=(0.0, 1.0), figure="forecast"
        )
        return {"loss": forecast, "trainable": trainable}


def _steps_of_a_task(sampler: Sampler) -> int:
    if sampler.collected().in_use is not None:
        raise ValueError(
            "`steps` is None, but the tasks of this stream have different numbers of steps: pass "
            "`steps`, or give all tasks the same number, for example with `max_minibatches` of a "
            "`Loader`."
        )
    return sampler.stream.chunks_per_task * sampler.stream.minibatches
