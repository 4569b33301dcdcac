"""Dead units that can learn again."""

from typing import ClassVar

import jax
from jaxtyping import PRNGKeyArray, PyTree

from ...models import dead, renew_units, unit_groups
from .._base._sampler import Sampler
from ._intervention import AbstractIntervention


class Revival(AbstractIntervention):
    """Draws new incoming weights for the units that are dead on the sample, and sets their biases
    and outgoing weights to zero.

    A dead unit adds nothing to the outputs on the sample, nor does a revived one.

    **Raises:** before a run, `ValueError` for a network with a norm between weights and activation,
    where new weights change the other units or their statistics, or with units that have no
    outgoing weights of their own; `TypeError` for a network without `units()`.
    """

    keeps_function: ClassVar[bool] = True

    def __call__(self, sampler: Sampler, *, key: PRNGKeyArray) -> PyTree:
        sample_key, own_key = jax.random.split(key)
        model, taps = sampler.learner.model, sampler.taps(key=sample_key)
        # The last layer comes first, so that all outgoing weights end at zero, also those that
        # lead to another revived unit.
        for i, group in reversed(list(enumerate(unit_groups(model)))):
            if group.scale or group.shift or group.statistics:
                raise ValueError(
                    f"`model` has a norm in the layer {group.name!r}, so that new weights of dead "
                    "units would change the function: choose a network without norms, or another "
                    "intervention."
                )
            marked = dead(group.by_unit(taps[group.name]))
            model = renew_units(model, group, marked, key=jax.random.fold_in(own_key, i))
        return model
