"""Any probe at balanced weights."""

import dataclasses
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._base._quantity import Quantity
from ..._base._signature import has_parameter
from ..._types import Learner
from ...models import balanced, check_scalable
from ...tasks import AbstractTaskStream
from .._base._boundary import Boundary
from .._base._branch_probe import AbstractBranchProbe
from .._base._objection import objection
from .._base._probe import AbstractProbe, When
from .._base._unanswered import unanswered


class Balanced(AbstractProbe):
    """Records what a probe measures on the network with balanced weights, see `models.balanced`.

    The network is the same function, but numbers that depend on how its units are scaled, such as
    norms, ranks of features and the Hessian, lose this dependence. Beside the plain probe it shows
    how much of a change is a change of scale. The columns are those of the probe with `balanced_`
    before their names. It costs what the probe costs, and some passes over the weights. Networks
    that cannot be balanced, such as those with tanh, record NaN.

    ```python
    measured = {"weights": probes.WeightNorm(), "even": probes.Balanced(probes.WeightNorm())}
    _, history = train_continual(model, stream, algo, probes=measured)
    history["even.end.balanced_norm"]
    ```

    **Arguments:**

    - `probe`: the probe. `when` and `every` are those of it.

    **Raises:** `TypeError` for a probe that trains. For signs of fresh tasks, balance the probe
    inside: `OnFreshTasks(Balanced(...))`.
    """

    probe: AbstractProbe

    def __init__(self, probe: AbstractProbe):
        if isinstance(probe, AbstractBranchProbe):
            raise TypeError(
                f"`probe` is a {type(probe).__name__}, which trains copies of the network, but "
                "must measure the network itself: pass for example "
                "`OnFreshTasks(Balanced(GradientNorm()))`."
            )
        self.probe = probe

    @property
    def when(self) -> tuple[When, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.probe.when

    @property
    def every(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.probe.every

    def __call__(
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        boundary: Boundary | None = None,
        initial: PyTree = None,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        def measured(learner: Learner, initial: PyTree) -> dict[str, Array]:
            at = None if boundary is None else dataclasses.replace(boundary, initial=initial)
            given = {"boundary": at, "initial": initial}
            known = {n: value for n, value in given.items() if has_parameter(self.probe, n)}
            found = self.probe(learner, stream, stream_state, key=key, **known)
            return {f"balanced_{name}": value for name, value in found.items()}

        if reason := objection(check_scalable, learner.model):
            shapes = eqx.filter_eval_shape(measured, learner, initial)
            return unanswered(self, reason, {name: s.shape for name, s in shapes.items()})
        even = dataclasses.replace(learner, model=balanced(learner.model))
        return measured(even, None if initial is None else balanced(initial))

    def quantities(self) -> dict[str, Quantity]:
        def renamed(quantity: Quantity) -> Quantity:
            bounds = {bound: f"balanced_{column}" for bound, column in quantity.bounds.items()}
            label = f"{quantity.label}, balanced weights"
            return dataclasses.replace(quantity, label=label, bounds=bounds)

        return {f"balanced_{n}": renamed(q) for n, q in self.probe.quantities().items()}
