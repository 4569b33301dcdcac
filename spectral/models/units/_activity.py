"""Dead and dormant units, as defined for probes, algorithms and theory alike."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mean_activity(
    activations: Float[Array, "examples units *positions"],
) -> Float[Array, " units"]:
    """The mean of |activation| over examples and positions, for each unit."""
    others = tuple(a for a in range(activations.ndim) if a != 1)
    return jnp.mean(jnp.abs(activations), axis=others)


def dead(activations: Float[Array, "examples units *positions"]) -> Bool[Array, " units"]:
    """Marks the units whose activation is exactly zero on every example and position (Def. 6.1).

    ```python
    dead(jnp.array([[0.0, 1.0], [0.0, 0.0]]))   # [True, False]
    ```
    """
    others = tuple(a for a in range(activations.ndim) if a != 1)
    return jnp.all(activations == 0, axis=others)


def dormant(
    activations: Float[Array, "examples units *positions"],
    *,
    threshold: float | Float[Array, ""] = 0.025,
) -> Bool[Array, " units"]:
    """Marks the units whose mean |activation| is at most `threshold` times the mean of their layer.

    The score of Sokar et al., *The Dormant Neuron Phenomenon* (2023), equation 1. Every dead unit
    is dormant. If all units of a layer are dead, all are dormant.
    """
    activity = mean_activity(activations)
    return activity <= threshold * jnp.mean(activity)
