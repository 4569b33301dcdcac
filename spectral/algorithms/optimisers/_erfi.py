"""The imaginary error function, which JAX lacks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


# e^81 is near the largest float32 number.
_LARGEST = 9.0


def erfi(x: Float[Array, " entries"]) -> Float[Array, " entries"]:
    """erfi(x) = 2 / sqrt(pi) times the integral of e^(t^2) from 0 to x, of |x| cut at 9.

    It is 2 x / sqrt(pi) times Kummer's function M(1/2, 3/2, x^2) (Abramowitz & Stegun, 7.1.21).

    ```python
    import jax.numpy as jnp

    erfi(jnp.array([0.5**0.5]))  # 0.95343827
    ```
    """
    x = jnp.clip(x, -_LARGEST, _LARGEST)
    return 2 / jnp.pi**0.5 * x * jax.scipy.special.hyp1f1(0.5, 1.5, x**2)
