"""Running mean and variance."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


Rows = Float[Array, "rows *shape"]  # noqa: F821 (ruff reads a product of two names)


class Moments(eqx.Module):
    """The mean and variance of all rows so far. They are 0 and 1 before the first row."""

    mean: Float[Array, "*shape"]
    variance: Float[Array, "*shape"]
    count: Float[Array, ""]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Moments":
        """Returns the moments before the first row."""
        return cls(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))

    def including(self, rows: Rows) -> "Moments":
        """Returns the moments with more rows (Chan et al., 1979)."""
        new = jnp.asarray(rows.shape[0], self.count.dtype)
        total = self.count + new
        shift = jnp.mean(rows, axis=0) - self.mean
        squares = jnp.var(rows, axis=0) * new + shift**2 * self.count * new / total
        squares = squares + jnp.where(self.count > 0, self.variance * self.count, 0)
        return Moments(self.mean + shift * new / total, squares / total, total)

    def standardise(self, rows: Rows) -> Rows:
        """Shift and scale rows to mean 0 and variance 1, and clip them to +-10. Returns the rows
        unchanged if there are no moments yet."""
        spread = jnp.sqrt(self.variance + 1e-8)
        return self._clipped((rows - self.mean[None]) / spread[None], rows)

    def scale(self, rows: Rows) -> Rows:
        """Divide rows by their standard deviation, and clip them to +-10. Returns the rows
        unchanged if there are no moments yet."""
        return self._clipped(rows / jnp.sqrt(self.variance + 1e-8)[None], rows)

    def _clipped(self, scaled: Rows, rows: Rows) -> Rows:
        return jnp.where(self.count > 0, jnp.clip(scaled, -10.0, 10.0), rows)
