"""How often a random action is taken."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...._arguments import as_int, check_count, check_fraction, check_kind
from ...._types import Clock


class LinearEpsilon(eqx.Module):
    """The probability of a random action, which falls linearly from `first` to `last` within
    `steps` environment steps, and then stays (Mnih et al., 2015).

    ```python
    exploration = tasks.LinearEpsilon(first=1.0, last=0.05, steps=10_000, restarts=True)
    ```

    **Arguments:**

    - `restarts`: begin again with `first` at every task. Otherwise the steps of the whole run
        count.

    **Raises:** `ValueError` for a probability outside [0, 1] or fewer than one step, `TypeError` if
    `restarts` is not a Boolean.
    """

    first: Float[Array, ""]
    last: Float[Array, ""]
    steps: int = eqx.field(static=True, converter=as_int)
    restarts: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        first: float | Float[Array, ""] = 1.0,
        last: float | Float[Array, ""] = 0.05,
        steps: int = 10_000,
        restarts: bool = False,
    ):
        check_fraction("first", first)
        check_fraction("last", last)
        check_count("steps", steps)
        check_kind("restarts", restarts, bool, "True")
        self.first, self.last = jnp.asarray(first, dtype=float), jnp.asarray(last, dtype=float)
        self.steps, self.restarts = steps, restarts

    def __call__(
        self, clock: Clock, chunks_per_task: int, steps_per_chunk: int
    ) -> Float[Array, ""]:
        """Returns epsilon in a chunk, in which it is constant."""
        done = clock.chunk * steps_per_chunk
        if not self.restarts:
            done += clock.task * chunks_per_task * steps_per_chunk
        return self.first + jnp.minimum(done / self.steps, 1) * (self.last - self.first)
