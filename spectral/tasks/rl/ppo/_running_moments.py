"""Running mean and variance."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


Rows = Float[Array, "rows *shape"]  # noqa: F821 (ruff reads a product of two names)


class Moments(eqx.Module):
    """Mean and variance of everything seen so far; 0 and 1 before anything is."""

    mean: Float[Array, "*shape"]
    variance: Float[Array, "*shape"]
    count: Float[Array, ""]

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> "Moments":
        """Of nothing."""
        return cls(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))

    def including(self, rows: Rows) -> "Moments":
        """Of these rows as well (Chan et al., 1979)."""
        new = jnp.asarray(rows.shape[0], self.count.dtype)
        total = self.count + new
        shift = jnp.mean(rows, axis=0) - self.mean
        squares = jnp.var(rows, axis=0) * new + shift**2 * self.count * new / total
        squares = squares + jnp.where(self.count > 0, self.variance * self.count, 0)
        return Moments(self.mean + shift * new / total, squares / total, total)

    def standardise(self, rows: Rows) -> Rows:
        """With mean 0 and variance 1, within +-10. As they are while nothing was seen."""
        spread = jnp.sqrt(self.variance + 1e-8)
        return self._within((rows - self.mean[None]) / spread[None], rows)

    def scale(self, rows: Rows) -> Rows:
        """Divided by the standard deviation, within +-10. As they are while nothing was seen."""
        return self._within(rows / jnp.sqrt(self.variance + 1e-8)[None], rows)

    def _within(self, scaled: Rows, rows: Rows) -> Rows:
        return jnp.where(self.count > 0, jnp.clip(scaled, -10.0, 10.0), rows)
