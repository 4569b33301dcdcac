"""The forecast of every task of a run."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above, check_count
from ..._types import Clock, Learner
from ...probes import AbstractSamplingProbe, sample_risk, When
from ...tasks import AbstractTaskStream, Split
from ._forecast import trainability_forecast


class TrainabilityForecast(AbstractSamplingProbe):
    """`trainability_forecast` at the start of tasks, on examples of the new task.

    Records `loss`, the training loss that the forecast expects at the end of the task, and
    `initial_loss`, `epsilon`, `directions`, `largest` and `trainable` (1 or 0). The history holds
    the outcome beside it: `loss` of the last chunk, or the loss at the end of the task that
    `probes.GradientNorm(when=("end",))` measures. Penalties, and what else an algorithm does
    besides descent, are not part of the forecast.

    ```python
    from spectral import theory

    forecast = theory.TrainabilityForecast(lr=0.01, target=1.0, examples=10)
    train_continual(model, stream, algo, probes={"forecast": forecast})
    ```

    **Arguments:**

    - `lr`: the rate of the algorithm's gradient steps.
    - `target`: the training loss that counts as success.
    - `steps`: gradient steps in a task, by default those of the stream, if all of its tasks take
        as many.
    - `shrinkage`: see `trainability_forecast`.
    - `num_examples`, `split`: how many examples of the present task, and which. Time grows with the
        square of examples times outputs.

    **Raises:** `ValueError` for numbers that `trainability_forecast` refuses, and when called, for
    no `steps` where a stream may skip minibatches.
    """

    lr: Float[Array, ""]
    target: Float[Array, ""]
    shrinkage: Float[Array, ""]
    steps: int | None = eqx.field(static=True)
    num_examples: int = eqx.field(static=True)
    split: Split = eqx.field(static=True)
    when: tuple[When, ...] = eqx.field(static=True)
    every: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        lr: float | Float[Array, ""],
        target: float | Float[Array, ""],
        steps: int | None = None,
        shrinkage: float | Float[Array, ""] = 0.5,
        num_examples: int = 100,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        check_above("lr", lr, 0)
        check_above("target", target, 0, strict=False)
        check_above("shrinkage", shrinkage, 0)
        check_above("1 - shrinkage", 1 - shrinkage, 0)
        if steps is not None:
            check_count("steps", steps)
        self.lr = jnp.asarray(lr, dtype=float)
        self.target = jnp.asarray(target, dtype=float)
        self.shrinkage = jnp.asarray(shrinkage, dtype=float)
        self.steps = steps
        self.num_examples = num_examples
        self.split = split
        self.when = when
        self.every = every

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        steps = self.steps
        if steps is None:
            steps = _steps_of_a_task(learner, stream, stream_state, key)
        risk = sample_risk(learner, stream, stream_state, self.num_examples, self.split, key=key)
        forecast = trainability_forecast(
            risk,
            learner.model,
            lr=self.lr,
            steps=steps,
            target=self.target,
            shrinkage=self.shrinkage,
        )
        return {
            "loss": forecast.loss,
            "initial_loss": forecast.initial_loss,
            "epsilon": forecast.epsilon,
            "directions": forecast.directions,
            "largest": forecast.largest,
            "trainable": forecast.trainable,
        }


def _steps_of_a_task(
    learner: Learner, stream: AbstractTaskStream, stream_state: Any, key: PRNGKeyArray
) -> int:
    zero = jnp.asarray(0)
    clock = Clock(step=zero, step_in_chunk=zero, chunk=zero, task=zero)
    _, chunk, _ = eqx.filter_eval_shape(stream.collect, stream_state, learner, clock, key=key)
    if chunk.in_use is not None:
        raise ValueError(
            "`steps` is None, but the tasks of this stream take different numbers of steps: pass "
            "`steps`, or give all tasks as many, such as by the `minibatches` of a `Loader`."
        )
    return stream.chunks_per_task * stream.minibatches
