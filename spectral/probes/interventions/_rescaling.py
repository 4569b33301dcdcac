"""Other weights of the same function."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above
from ...models import rescaled, unit_groups
from .._base._sampler import Sampler
from ._intervention import AbstractIntervention


class Rescaling(AbstractIntervention):
    """Multiplies the incoming weights and the bias of each ReLU unit by a factor, and divides its
    outgoing weights by it.

    The function stays the same. Gradients and the Hessian change, and with it its eps-rank. The
    factor of a unit is drawn log-uniformly between 1 / `factor` and `factor`. (See
    `spectral.models.rescaled`. `spectral.algorithms.proportional_sign` is an update that does not
    feel it.)

    **Raises:** `ValueError` if `factor` is below 1; before a run, as `rescaled`.
    """

    keeps_function: ClassVar[bool] = True
    factor: Float[Array, ""]

    def __init__(self, *, factor: float | Float[Array, ""] = 10.0):
        check_above("factor", factor, 1, strict=False)
        self.factor = jnp.asarray(factor, dtype=float)

    def __call__(self, sampler: Sampler, *, key: PRNGKeyArray) -> PyTree:
        model = sampler.learner.model
        keys = jax.random.split(key, max(1, len(unit_groups(model))))
        factors = {
            group.name: self.factor ** jax.random.uniform(k, (group.size,), minval=-1.0)
            for group, k in zip(unit_groups(model), keys, strict=False)
            if group.replaceable
        }
        return rescaled(model, factors)
