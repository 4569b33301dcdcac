"""Metrics of the episodes of a rollout."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...._base._quantity import Quantity
from ....models import activations_by_unit, dead, has_units
from ..._base._stream import Metrics
from ._rollout import Trajectory


def rollout_metrics(trajectory: Trajectory) -> Metrics:
    """Returns the metrics of a training rollout. Means over no episodes are NaN."""
    ended = trajectory.ended
    count = jnp.sum(ended, dtype=float)
    mean = lambda x: jnp.sum(jnp.where(ended, x, 0)) / count
    return {
        "episode_return": mean(trajectory.total),
        "episode_length": mean(trajectory.length),
        "num_episodes": count,
        "reward": jnp.mean(trajectory.step.reward),
        "parameter": trajectory.parameter[-1, 0],
    }


def evaluation_metrics(trajectory: Trajectory) -> Metrics:
    """Returns the mean return and length of the first episode of each environment."""
    first = jnp.cumsum(trajectory.ended, axis=0) - trajectory.ended == 0
    return {
        "evaluation_return": jnp.where(first, trajectory.step.reward, 0).sum(axis=0).mean(),
        "evaluation_length": first.sum(axis=0, dtype=float).mean(),
    }


def return_quantities(*, evaluated: bool) -> dict[str, Quantity]:
    """What the returns are; `evaluated`: whether there are separate episodes of evaluation."""
    returns = Quantity("episode return", better="higher", figure="performance", reduce="mean_known")
    found = {"episode_return": returns}
    if evaluated:
        found["evaluation_return"] = replace(returns, label="evaluation return", reduce="mean")
    return found


def dead_fraction(model: Any, taps: dict[str, Array]) -> Float[Array, ""]:
    """Returns the fraction of units that are dead on all examples, or 0 for no units.

    Layers whose units cannot be dead (`UnitGroup.never_dead`) do not count. The fraction is NaN if
    there are no others.
    """
    groups = model.units() if has_units(model) else ()
    undefined = {group.name for group in groups if group.never_dead}
    layers = activations_by_unit(model, taps)
    if not layers:
        return jnp.asarray(0.0)
    defined = [dead(layer) for name, layer in layers.items() if name not in undefined]
    return jnp.mean(jnp.concatenate(defined), dtype=float) if defined else jnp.asarray(jnp.nan)
