"""Products with a matrix in units of a power of two, in which its entries are of the order of 1."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._base._scaling import times_power
from ..operators._operator import AbstractOperator
from ._derivative import no_derivative


# Maps a vector v and an exponent k to 2^-k A v.
ScaledProduct = Callable[[Float[Array, " dim"], int | Int[Array, ""]], Float[Array, " dim"]]


def scaled_product(operator: AbstractOperator) -> ScaledProduct:
    """Products with 2^-k A, where k is near the exponent of the entries of A v.

    Half of the power of two is applied to the vector and half to its image. So neither the products
    within the operator nor the entries of the vectors leave the range of their dtype for any
    |k| up to 126 in float32. A power of two changes no digit. Without it, squares of entries
    beyond 1e19, and those below 1e-19, are infinite or zero in float32.

    **Raises:** `TypeError` if an image is differentiated.
    """
    product = operator.flat_product()
    # Of float16 there is no range to spare, so the whole power is applied to the image.
    leaves = jax.tree.leaves(operator.structure)
    room = min((int(jnp.finfo(leaf.dtype).maxexp) - 16) // 2 for leaf in leaves)

    def scaled(vector: Float[Array, " dim"], exponent: int | Int[Array, ""]) -> Array:
        before = jnp.clip(-(jnp.asarray(exponent) // 2), -room, room)
        image = no_derivative(product(times_power(vector, before)))
        return times_power(image, -exponent - before)

    return scaled
