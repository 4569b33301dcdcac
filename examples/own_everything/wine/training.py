"""An algorithm, a probe and an estimator."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from spectral import Learner, Quantity, Signal
from spectral.algorithms import AbstractTransform, Algorithm, L2, sgd
from spectral.curvature import AbstractOperator, Lanczos, Spectrum
from spectral.probes import AbstractProbe, When
from spectral.tasks import AbstractTaskStream


class ClipWeights(AbstractTransform[Array]):
    """Clips every parameter to [-limit, limit] after each step, and counts what it clipped."""

    limit: Float[Array, ""]  # an array, so that a sweep over limits compiles once

    def __init__(self, limit: float | Float[Array, ""]):
        self.limit = jnp.asarray(limit, dtype=float)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> Array:
        return jnp.asarray(0)

    def update(
        self, learner: Learner, state: Array, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, Array]:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        beyond = sum(jnp.sum(jnp.abs(p) > self.limit) for p in jax.tree.leaves(params))
        params = jax.tree.map(lambda p: jnp.clip(p, -self.limit, self.limit), params)
        learner = Learner(eqx.combine(params, static), learner.model_state, learner.optimiser)
        return learner, state + beyond

    def measure(self, state: Array) -> dict[str, Array]:
        return {"clipped": state}

    def quantities(self) -> dict[str, Quantity]:
        return {"clipped": Quantity("weights clipped since the run began", figure="clipping")}


def clipped(lr: float = 0.05, *, limit: float = 1.0, weight_decay: float = 1e-3) -> Algorithm:
    """Stochastic gradient descent with an L2 penalty and clipped weights."""
    return Algorithm(sgd(lr), penalties=(L2(weight_decay),), transforms=(ClipWeights(limit),))


class LargestWeight(AbstractProbe):
    """Records the largest magnitude of a weight."""

    when: tuple[When, ...] = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        params = jax.tree.leaves(eqx.filter(learner.model, eqx.is_inexact_array))
        return {"largest": jnp.max(jnp.stack([jnp.max(jnp.abs(p)) for p in params]))}

    def quantities(self) -> dict[str, Quantity]:
        return {"largest": Quantity("largest weight", limits=(0.0, None), figure="weights")}


class ShortLanczos(eqx.Module):
    """An estimator of spectra: Lanczos of a low order from a single vector."""

    order: int = eqx.field(static=True, default=4)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        return Lanczos(order=self.order, num_vectors=1)(operator, key=key)
