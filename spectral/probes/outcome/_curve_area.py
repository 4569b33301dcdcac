"""The area under the curve of a branch, as a cost."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._base._quantity import Quantity
from .._base._train import Trained


def area_of(trained: Trained, stream: Any) -> Float[Array, ""]:
    """Returns the mean cost over the budget: the loss before each step, or, for a stream with an
    `outcome_metric`, that metric after each chunk, negated if higher values are better. It is
    infinite for a branch that diverges.

    **Raises:** `ValueError` if `stream.evaluate` does not return the metric.
    """
    if stream.outcome_metric is None:
        return jnp.nanmean(trained.losses)
    curve = _metric(trained.metrics, stream.outcome_metric)
    cost = -curve if _better(stream.quantities(), stream.outcome_metric) == "higher" else curve
    return jnp.mean(jnp.where(jnp.isnan(cost), jnp.inf, cost))


def ratio_of(area: Float[Array, ""], fresh: Float[Array, ""]) -> Float[Array, ""]:
    """Returns how well a branch does relative to a fresh network: 1 if equally, more if better.

    It is fresh / area of two costs, and area / fresh of two returns, whose costs are negative. It
    is NaN if the signs differ.
    """
    costs, returns = (area > 0) & (fresh > 0), (area < 0) & (fresh < 0)
    return jnp.where(costs, fresh / area, jnp.where(returns, area / fresh, jnp.nan))


def _metric(metrics: Mapping[str, Array], name: str) -> Float[Array, " chunks"]:
    if name not in metrics:
        raise ValueError(
            f"`stream.evaluate` returns {sorted(metrics)}, but trainability is measured by "
            f"{name!r}, the `outcome_metric` of the stream: evaluate it, in `PPO` with a "
            "`num_evaluation_environments` above 0."
        )
    return metrics[name]


def _better(quantities: Mapping[str, Quantity], name: str) -> str | None:
    return quantities[name].better if name in quantities else None
