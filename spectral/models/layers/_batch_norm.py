"""Batch normalisation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._arguments import check_count
from ..._base._precision import in_single
from ..._carry import narrowed


Statistics = tuple[Float[Array, " channels"], Float[Array, " channels"]]  # noqa: F821


class BatchNorm(eqx.Module):
    """Normalises each channel to zero mean and unit variance over a batch and its positions, then
    scales it by `weight` and shifts it by `bias` (Ioffe & Szegedy, 2015).

    Training uses the mean and the variance of the batch and updates running values of both:
    new = `momentum` old + (1 - `momentum`) batch, starting from mean 0 and variance 1. Inference
    uses the running values without correction. This matches Flax; PyTorch also applies Bessel's
    correction to the stored variance. (`eqx.nn.BatchNorm` divides the stored values by
    1 - momentum^steps, which makes variances ten times too large after one step.) Statistics are
    computed in float32 at least; the output has the type of the input.

    Make it together with its state, and call it under `jax.vmap` with the axis name `"batch"`:

    ```python
    norm, state = eqx.nn.make_with_state(BatchNorm)(3)
    over = jax.vmap(norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    normalised, state = over(jnp.arange(6.0).reshape(2, 3), state)
    ```
    """

    weight: Float[Array, " channels"]
    bias: Float[Array, " channels"]
    statistics: eqx.nn.StateIndex[Statistics]
    inference: bool  # switch it with `eqx.nn.inference_mode`
    momentum: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(self, channels: int, *, momentum: float = 0.9, eps: float = 1e-5):
        """**Raises:** `ValueError` if `channels` is below 1."""
        check_count("channels", channels)
        self.weight, self.bias = jnp.ones(channels), jnp.zeros(channels)
        self.statistics = eqx.nn.StateIndex((jnp.zeros(channels), jnp.ones(channels)))
        self.inference = False
        self.momentum = momentum
        self.eps = eps

    def __call__(
        self, x: Float[Array, "channels ..."], state: eqx.nn.State
    ) -> tuple[Float[Array, "channels ..."], eqx.nn.State]:
        # One transposition for all statements below, see `channels_last`.
        dtype = jnp.promote_types(x.dtype, self.weight.dtype)
        x = in_single(jnp.moveaxis(x, 0, -1))
        if self.inference:
            mean, variance = state.get(self.statistics)
        else:
            positions = tuple(range(x.ndim - 1))
            mean = jax.lax.pmean(jnp.mean(x, positions), "batch")
            apart = x - _along(mean, x)
            variance = jax.lax.pmean(jnp.mean(apart**2, positions), "batch")
            keep = lambda old, new: narrowed(self.momentum * old + (1 - self.momentum) * new, old)
            old_mean, old_variance = state.get(self.statistics)
            state = state.set(self.statistics, (keep(old_mean, mean), keep(old_variance, variance)))
        scale = self.weight * jax.lax.rsqrt(variance + self.eps)
        scaled = (x - _along(mean, x)) * _along(scale, x) + _along(self.bias, x)
        return jnp.moveaxis(scaled.astype(dtype), -1, 0), state

    def renew(self, state: eqx.nn.State, channels: Bool[Array, " channels"]) -> eqx.nn.State:
        """Returns the state with the running values of the marked channels re-initialised."""
        mean, variance = state.get(self.statistics)
        renewed = jnp.where(channels, 0, mean), jnp.where(channels, 1, variance)
        return state.set(self.statistics, renewed)


def _along(values: Float[Array, " channels"], x: Float[Array, "... channels"]) -> Array:
    """The value of each channel, broadcast over its positions."""
    return values.reshape(*[1] * (x.ndim - 1), -1)
