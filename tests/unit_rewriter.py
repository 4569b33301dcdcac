"""A transform that rewrites units and makes the optimiser forget them."""

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import Learner
from spectral.algorithms import AbstractTransform
from spectral.models import forget_units, mean_activity, renew_units


class RewriteUnits(AbstractTransform[jax.Array]):
    """Renews the smallest active unit of every layer that allows it, and counts how often."""

    forget: bool = eqx.field(static=True, default=True)

    def init(self, learner, *, key):
        return jnp.asarray(0)

    def update(self, learner, state, signal, *, key):
        model, optimiser = learner.model, learner.optimiser
        for i, group in enumerate(model.units()):
            if not group.replaceable:
                continue
            activity = mean_activity(signal.taps[group.name])
            worst = jnp.arange(group.size) == jnp.argmin(activity)
            model = renew_units(model, group, worst, key=jax.random.fold_in(key, i))
            if self.forget:
                optimiser = forget_units(optimiser, model, group, worst)
        return Learner(model, learner.model_state, optimiser), state + 1
