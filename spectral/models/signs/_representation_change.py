"""How far the features of the same examples have moved."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._base._scaling import norm


def representation_change(
    now: Float[Array, "examples units *positions"],
    before: Float[Array, "examples units *positions"],
) -> Float[Array, ""]:
    """The mean over examples of ||h_now(x) - h_before(x)|| / ||h_before(x)||.

    Lewandowski et al., *Learning Continually by Spectral Regularization* (2025). Both are features
    of one layer on the same examples. Over a task that has been learnt it is an outcome as much as
    a sign. Examples without any earlier feature are left out; NaN if there are no others.

    ```python
    jax.jit(representation_change)(jnp.array([[3.0, 4.0]]), jnp.array([[3.0, 0.0]]))  # 4/3
    ```
    """
    size = norm(before.reshape(before.shape[0], -1), axis=1)
    distance = norm((now - before).reshape(before.shape[0], -1), axis=1)
    known = size != 0
    total = jnp.sum(jnp.where(known, distance / jnp.where(known, size, 1), 0))
    return jnp.where(jnp.any(known), total / jnp.sum(known), jnp.nan)
