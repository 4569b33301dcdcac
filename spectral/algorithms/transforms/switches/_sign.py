"""What a transform can act on, and the number in it that is compared with a threshold."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import unknown_name
from ...._base._quantity import Quantity
from ...._types import Learner
from ....tasks import AbstractTaskStream


class AbstractSign(eqx.Module):
    """A measurement that a transform can act on. All probes of `spectral.probes` are signs, and a
    sign of your own is a probe: derive it from `AbstractProbe`."""

    @abstractmethod
    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """Returns the measurements by name."""

    def quantities(self) -> dict[str, Quantity]:
        """Returns what the measurements are, by their names. Those that are left out are recorded
        but not shown. By default all are shown under their own names."""
        return {}


def number_in(row: dict[str, Array], column: str, sign: AbstractSign) -> Float[Array, ""]:
    """Returns the number in a column of what a sign has measured. The quantity of the column says
    how an array becomes one number.

    **Raises:** `ValueError` for a column that the sign does not measure, or an array for which it
    declares no quantity.
    """
    if column not in row:
        raise ValueError(
            f"`column`: {unknown_name(f'Column of {type(sign).__name__}', column, row)}"
        )
    value = jnp.asarray(row[column], float)
    if value.ndim == 0:
        return value
    declared = sign.quantities()
    if column not in declared:
        raise ValueError(
            f"`column` is {column!r}, which {type(sign).__name__} measures as an array of shape "
            f"{value.shape}, but must be one number: choose another column, or a probe whose "
            "`quantities` declare by `reduce` how it becomes one number."
        )
    reduce, numbers = declared[column].reduce, value.reshape(-1)
    if isinstance(reduce, int):
        return numbers[reduce]
    if reduce == "mean_known":
        return jnp.nanmean(jnp.where(jnp.isfinite(numbers), numbers, jnp.nan))
    return {"mean": jnp.mean, "smallest": jnp.min, "largest": jnp.max}[reduce](numbers)
