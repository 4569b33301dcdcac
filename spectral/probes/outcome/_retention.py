"""What a network still knows of earlier tasks."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..._arguments import as_int, check_count, unknown_name
from ..._base._quantity import Quantity
from ..._types import Learner
from ...tasks import AbstractTaskStream
from .._base._boundary import Boundary
from .._base._probe import AbstractProbe, When


class Retention(AbstractProbe):
    """Records the accuracy of the present network on the last `num_past` tasks before this one.

    The stream rebuilds these tasks from the key of the run, and evaluates the network on each as it
    does at the end of a task. The columns are:

    - `accuracy`: `[num_past]`; entry i belongs to the task i + 1 tasks ago. Entries are NaN where
        the run had not begun.
    - `mean`: the mean of these; NaN in the first task.

    `forgetting` computes from a history how much was lost since the end of each task.

    ```python
    measured = {"retention": probes.Retention(num_past=2)}
    _, history = train_continual(model, stream, algo, probes=measured)
    probes.forgetting(history, "retention")  # [tasks]
    ```

    **Arguments:**

    - `num_past`: how many earlier tasks to evaluate. Each takes the time of one evaluation.
    - `metric`: the accuracy among the metrics of `stream.evaluate`, or another metric, such as
        `"test_loss"` if the labels are numbers. The columns keep their names.

    **Raises:** `ValueError` if `num_past` is not a positive integer; before a run, `TypeError` if
    the stream cannot rebuild its tasks, and `ValueError` if it has no such metric.
    """

    _: KW_ONLY
    num_past: int = eqx.field(static=True, default=5, converter=as_int)
    metric: str = eqx.field(static=True, default="test_accuracy")
    when: tuple[When, ...] = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __check_init__(self):
        check_count("num_past", self.num_past)

    def __call__(
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        boundary: Boundary | None = None,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        if boundary is None:
            raise ValueError(
                "`boundary` is None, but `Retention` must know the task and the key of the run: "
                "pass the probe to `train_continual`, or a `Boundary`."
            )

        run_key = boundary.run_key

        def known(task: Int[Array, ""]) -> Float[Array, ""]:
            state = stream.rebuild(stream_state, task, key=run_key)
            metrics = stream.evaluate(state, learner, key=jax.random.fold_in(key, task))
            if self.metric not in metrics:
                raise ValueError(
                    f"{unknown_name('`metric`: Metric', self.metric, metrics)} Pass one that the "
                    f'stream records: `Retention(metric="{min(metrics)}")`.'
                )
            return jnp.asarray(metrics[self.metric], float)

        def entry(task: Int[Array, ""]) -> Float[Array, ""]:
            missing = lambda task: jnp.asarray(jnp.nan, float)
            return jax.lax.cond(task >= 0, known, missing, task)

        accuracy = jax.lax.map(entry, boundary.task - 1 - jnp.arange(self.num_past))
        return {"accuracy": accuracy, "mean": jnp.nanmean(accuracy)}

    def quantities(self) -> dict[str, Quantity]:
        if not self.metric.endswith("accuracy"):
            what = self.metric.removeprefix("test_").replace("_", " ")
            return {"mean": Quantity(f"{what} on earlier tasks", figure="performance")}
        mean = Quantity(
            "accuracy on earlier tasks", limits=(0.0, 1.0), better="higher", figure="performance"
        )
        return {"mean": mean}
