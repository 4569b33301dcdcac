"""Which leaves of a network are the parameters in which curvature is taken."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._base._precision import in_single


def split_parameters(params: PyTree) -> tuple[PyTree, PyTree]:
    """The floating-point arrays of a pytree, in float32 or wider, and the rest, in the form of
    `eqx.partition`.

    A leaf that is not a number, such as an activation function, is a constant. So is a plain number
    that is an attribute of a Module, such as the rate of a `Dropout`, and an array of integers or
    Booleans there, such as the mask of a `Sparse` layer or the frozen weights of `Linearised`.

    **Raises:** `ValueError` if a number is not in a floating-point array, because it may be a
    parameter by mistake, and if there are no parameters.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        is_array = isinstance(leaf, jax.Array | np.ndarray)
        # Networks of Equinox hold flags, rates and masks next to their arrays. In a dict or a list
        # such a number may be a parameter by mistake.
        is_setting = bool(path) and isinstance(path[-1], jax.tree_util.GetAttrKey)
        is_plain = isinstance(leaf, bool | int | float | complex | np.generic)
        is_exact = is_array and not jnp.issubdtype(leaf.dtype, jnp.inexact)
        is_number = is_array or is_plain
        is_number = is_number and not (is_setting and (is_plain or is_exact))
        if is_number and not (is_array and jnp.issubdtype(leaf.dtype, jnp.floating)):
            got = f"an array of {leaf.dtype}" if is_array else f"a {type(leaf).__name__}"
            where = jax.tree_util.keystr(path) or "itself"
            raise ValueError(
                f"`params` has {got} at {where}, but every number in it must be in a "
                "floating-point array: separate the others with "
                "`eqx.partition(model, eqx.is_inexact_array)` and combine them again inside the "
                "loss."
            )
    dynamic, constants = eqx.partition(params, _is_parameter)
    # A curvature matrix in half precision would have products of two to three digits.
    dynamic = in_single(jax.tree.map(jnp.asarray, dynamic))
    if sum(leaf.size for leaf in jax.tree.leaves(dynamic)) == 0:
        raise ValueError(
            f"`params` is {params!r} and holds no numbers, but must hold at least one: pass the "
            "parameters of a network."
        )
    return dynamic, constants


def _is_parameter(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)


def structure_of(params: PyTree) -> PyTree[jax.ShapeDtypeStruct]:
    """The shapes of the parameters and their dtypes, float32 at least, and so those of the vectors
    of an operator."""
    dynamic, _ = split_parameters(params)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), dynamic)
