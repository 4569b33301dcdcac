"""Noise on one of two equal units."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above
from ...models import unit_groups
from .._base._sampler import Sampler
from ._intervention import AbstractIntervention


class SplitClones(AbstractIntervention):
    """Adds noise to the incoming weights of each unit that is a clone of an earlier unit of its
    layer.

    Gradient descent can keep clones equal for ever. A unit is a clone if the cosine between its
    activations on the sample and those of an earlier unit is above `cosine`; dead units are none.
    (Joudaki et al., 2026, count duplicates at a cosine of 0.95.)

    **Arguments:**

    - `noise`: the standard deviation of the noise, relative to the root mean square of the incoming
      weights of the unit.
    - `cosine`: how similar two units must be.

    **Raises:** `ValueError` if `noise` is not positive; before a run, `TypeError` for a network
    without `units()`.
    """

    noise: Float[Array, ""]
    cosine: Float[Array, ""]

    def __init__(
        self,
        *,
        noise: float | Float[Array, ""] = 0.1,
        cosine: float | Float[Array, ""] = 0.95,
    ):
        check_above("noise", noise, 0)
        check_above("cosine", cosine, 0)
        self.noise = jnp.asarray(noise, dtype=float)
        self.cosine = jnp.asarray(cosine, dtype=float)

    def __call__(self, sampler: Sampler, *, key: PRNGKeyArray) -> PyTree:
        sample_key, own_key = jax.random.split(key)
        model, taps = sampler.learner.model, sampler.taps(key=sample_key)
        for i, group in enumerate(unit_groups(model)):
            marked = self._clones(group.by_unit(taps[group.name]))
            for j, entries in enumerate(group.incoming):
                weight = entries.read(model)
                size = jnp.sqrt(jnp.mean(entries.by_unit(weight) ** 2, axis=1))
                shape = [1] * weight.ndim
                shape[entries.axis] = -1
                deviation = entries.spread(jnp.where(marked, self.noise * size, 0)).reshape(shape)
                its_key = jax.random.fold_in(jax.random.fold_in(own_key, i), j)
                noise = deviation * jax.random.normal(its_key, weight.shape)
                if entries.mask is not None:
                    noise = jnp.where(entries.mask(model), noise, 0)
                model = eqx.tree_at(entries.where, model, (weight + noise).astype(weight.dtype))
        return model

    def _clones(self, activations: Float[Array, "examples units ..."]) -> Bool[Array, " units"]:
        """Marks the units that are clones of an earlier one."""
        vectors = jnp.moveaxis(activations, 1, 0).reshape(activations.shape[1], -1)
        norms = jnp.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / jnp.where(norms > 0, norms, 1)
        return jnp.any(jnp.tril(unit @ unit.T, -1) > self.cosine, axis=1)
