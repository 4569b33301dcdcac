"""What a probe measures after a change of the network, and after a control."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._arguments import as_int, check_count, check_kind
from ..._base._quantity import Quantity
from ..._carry import arrays_of, strong, with_arrays
from ..._types import Learner
from ...tasks import AbstractTaskStream
from .._base._boundary import Boundary
from .._base._branch_probe import AbstractBranchProbe
from .._base._measure_with import measure_with
from .._base._probe import AbstractProbe, When
from .._base._sampler import Sampler
from .._base._train import Train
from ._intervention import AbstractIntervention
from ._matched_noise import matched_noise, output_distance


class Intervened(AbstractBranchProbe):
    """Records what a probe measures on a changed copy of the network, and on a control.

    If a sign of lost plasticity is a cause, changing it changes the trainability as well. The
    control shows what a change of this size does anyway: noise on all weights, scaled so that the
    outputs move equally far. For an intervention that keeps the function, it is the unchanged
    network. In both arms the optimiser is initialised again, and the algorithm keeps what else it
    remembers.

    The columns are those of the probe, for the changed network; `NAME_control`, the same for the
    control; and `output_distance`, `output_distance_control`, the mean squared changes of the
    outputs on the sample. The two arms see the same examples, fresh tasks and random numbers, which
    are also those of the plain probe, up to the draws that depend on its name.

    ```python
    rescaling = probes.Rescaling(factor=10.0)
    measured = {
        "trainability": probes.Intervened(probes.Trainability(budget=50), rescaling),
        "hessian": probes.Intervened(probes.HessianSpectrum(num_examples=40), rescaling),
    }
    ```

    **Arguments:**

    - `probe`: any probe, such as `Trainability`, `DeadUnits` or `OnFreshTasks(...)`. It says when
      to measure.
    - `intervention`: the change.
    - `num_examples`: the training examples of the present task on which the intervention sees
      activations and distances are measured.

    **Raises:** `TypeError` for another kind of argument, `ValueError` for no examples.
    """

    probe: AbstractProbe
    intervention: AbstractIntervention
    num_examples: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        probe: AbstractProbe,
        intervention: AbstractIntervention,
        *,
        num_examples: int = 200,
    ):
        check_kind("probe", probe, AbstractProbe, "probes.Trainability()")
        check_kind("intervention", intervention, AbstractIntervention, "probes.Rescaling()")
        check_count("num_examples", num_examples)
        self.probe, self.intervention, self.num_examples = probe, intervention, num_examples

    @property
    def when(self) -> tuple[When, ...]:
        """That of the probe."""
        return self.probe.when

    @property
    def every(self) -> int:
        """That of the probe."""
        return self.probe.every

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
        drawn = boundary.sample_key
        sampler = Sampler(learner, stream, stream_state, self.num_examples, "train", drawn)
        change_key, noise_key, forward_key, own_key = jax.random.split(key, 4)
        distance = output_distance(sampler, key=forward_key)
        changed = self.intervention(sampler, key=change_key)
        if self.intervention.keeps_function:
            control = learner.model
        else:
            control = matched_noise(sampler, distance, distance(changed), key=noise_key)

        def measured(model: PyTree) -> dict[str, Array]:
            optimiser = learner.optimiser.init(model)
            own = replace(learner, model=model, optimiser=optimiser)
            row = measure_with(self.probe, own, stream, stream_state, boundary, train, key=own_key)
            row = row | {"output_distance": distance(model)}
            return {name: jnp.asarray(value, float) for name, value in row.items()}

        # One program measures both.
        models = [arrays_of(strong(model)) for model in (changed, control)]
        stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), *models)
        row = jax.lax.map(lambda arrays: measured(with_arrays(learner.model, arrays)), stacked)
        arms = {"": 0, "_control": 1}
        return {f"{n}{arm}": value[i] for n, value in row.items() for arm, i in arms.items()}

    def calibrate(
        self, learner: Learner, stream: AbstractTaskStream, train: Train, *, key: PRNGKeyArray
    ) -> PyTree[Array]:
        if isinstance(self.probe, AbstractBranchProbe):
            return self.probe.calibrate(learner, stream, train, key=key)
        return super().calibrate(learner, stream, train, key=key)

    def quantities(self) -> dict[str, Quantity]:
        what, found = type(self.intervention).__name__, {}
        for name, quantity in self.probe.quantities().items():
            for arm, suffix in ((f"after {what}", ""), (f"control of {what}", "_control")):
                found[f"{name}{suffix}"] = replace(
                    quantity,
                    label=f"{quantity.label}, {arm}",
                    compared=False,
                    bounds={b: f"{column}{suffix}" for b, column in quantity.bounds.items()},
                )
        return found
