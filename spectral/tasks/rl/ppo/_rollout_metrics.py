"""What is recorded of a rollout."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ....models import activations_by_unit, dead
from ..._base._stream import Metrics
from ._rollout import Trajectory


def episodes(rollout: Trajectory) -> Metrics:
    """Metrics of the episodes that ended in a rollout."""
    ended = rollout.ended
    count = jnp.sum(ended, dtype=float)
    mean = lambda x: jnp.sum(jnp.where(ended, x, 0)) / count  # NaN for none
    return {
        "episode_return": mean(rollout.total),
        "episode_length": mean(rollout.length),
        "num_episodes": count,
        "reward": jnp.mean(rollout.step.reward),
        "parameter": rollout.parameter[-1, 0],
    }


def dead_fraction(model: Any, taps: dict[str, Array]) -> Float[Array, ""]:
    """The fraction of units that are silent on all examples."""
    silent = [dead(layer) for layer in activations_by_unit(model, taps).values()]
    return jnp.mean(jnp.concatenate(silent), dtype=float) if silent else jnp.asarray(0.0)
