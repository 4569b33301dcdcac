"""Signs of a task that is yet to come, measured on the tasks on which branches train."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ..._arguments import as_int, check_count, check_kind
from ..._base._quantity import Quantity
from ..._keys import derive, Role
from ..._types import Learner
from ...tasks import AbstractTaskStream, NoFreshTaskError
from .._base._boundary import Boundary
from .._base._branch_probe import AbstractBranchProbe
from .._base._measure_with import measure_with
from .._base._probe import AbstractProbe, When
from .._base._train import Train
from .._base._unanswered import unanswered


class OnFreshTasks(AbstractBranchProbe):
    """Records the means of what a probe measures at the start of fresh tasks, before their first
    step.

    Gradients and curvature depend on the task, and those of a task that the network has just learnt
    say little about the next. The fresh tasks are those on which `Trainability` trains at the same
    boundary, so that sign and outcome belong to the same tasks. As at the start of a task of the
    run, the algorithm has begun the task: a network that it resets is measured after the reset.

    The columns are those that the probe declares in `quantities()`, and their bounds; all of them
    if it declares none. Others, such as the nodes of a spectrum, have no mean. In a stream without
    fresh tasks they are NaN, and the log says why.

    ```python
    gradient = probes.GradientNorm(num_examples=40)
    measured = {"gradient": probes.OnFreshTasks(gradient, num_tasks=2)}
    _, history = train_continual(model, stream, algo, probes=measured)
    history["gradient.end.norm"]
    ```

    **Arguments:**

    - `probe`: any probe that does not train. Its own `when` and `every` do not count.
    - `num_tasks`: the number of fresh tasks; the same as for `Trainability`.

    **Raises:** `ValueError` for no tasks, `TypeError` for a probe that trains, or no probe.
    """

    probe: AbstractProbe
    num_tasks: int = eqx.field(static=True, default=3, kw_only=True, converter=as_int)
    when: tuple[When, ...] = eqx.field(static=True, default=("end",), kw_only=True)
    every: int = eqx.field(static=True, default=1, kw_only=True, converter=as_int)

    def __check_init__(self):
        check_kind("probe", self.probe, AbstractProbe, "probes.GradientNorm()")
        check_count("num_tasks", self.num_tasks)
        if isinstance(self.probe, AbstractBranchProbe):
            raise TypeError(
                f"`probe` is a {type(self.probe).__name__}, which chooses tasks itself, but must "
                "be a probe that measures on the task at hand: pass for example "
                "`probes.GradientNorm()`."
            )

    def __call__(
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        train: Train,
        boundary: Boundary,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        def measured(learner: Learner, state: Any, index: Int[Array, ""]) -> dict[str, Array]:
            sample_key = derive(boundary.task_key(index), Role.SAMPLE, index)
            at = replace(boundary, sample_key=sample_key)
            # The key is the same on all tasks: a difference is one between tasks.
            return self._declared(
                measure_with(self.probe, learner, stream, state, at, None, key=key)
            )

        def on_task(index: Int[Array, ""]) -> dict[str, Array]:
            task_key = boundary.task_key(index)
            state = train.fresh_task(stream_state, key=task_key)
            begun = train(train.continuing(learner), state, 0, key=task_key).learner
            return measured(begun, state, index)

        try:
            rows = jax.lax.map(on_task, jnp.arange(self.num_tasks))
        except NoFreshTaskError as error:
            shapes = eqx.filter_eval_shape(measured, learner, stream_state, jnp.asarray(0))
            columns = {name: shape.shape for name, shape in shapes.items()}
            return unanswered(self, str(error).removesuffix("."), columns)
        return {name: jnp.mean(column, axis=0) for name, column in rows.items()}

    def quantities(self) -> dict[str, Quantity]:
        def repeated(quantity: Quantity) -> Quantity:
            cost = quantity.cost
            return replace(quantity, cost=None if cost is None else cost * self.num_tasks)

        return {name: repeated(quantity) for name, quantity in self.probe.quantities().items()}

    def _declared(self, row: dict[str, Array]) -> dict[str, Array]:
        """The columns that have a mean."""
        declared = self.probe.quantities()
        names = {*declared, *(b for q in declared.values() for b in q.bounds.values())}
        kept = {name: value for name, value in row.items() if name in names or not declared}
        return {name: jnp.asarray(value, float) for name, value in kept.items()}
