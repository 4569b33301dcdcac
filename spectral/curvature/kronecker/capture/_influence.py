"""Whether parameters influence the outputs of a network other than through calls."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, PyTree

from ._layers import layer_name


def check_influence(traced: Any, dynamic: PyTree, allowed: set[int]) -> None:
    """Checks that only `allowed` parameters influence the outputs other than through calls."""
    paths = [layer_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(dynamic)]
    others = [index for index in range(len(paths)) if index not in allowed]
    if not influences(traced, others):
        return
    names = ", ".join(paths[index] for index in others if influences(traced, [index]))
    raise ValueError(
        "`params` has weights that act other than through calls of `Linear`, `Embedding`, `Conv` "
        f"or `Convolution` layers: {names}. They have no Kronecker factors: call the layers, let "
        "an output layer share the weight of an `eqx.nn.Embedding` as `embedding.weight @ x` or by "
        "`eqx.nn.Shared`, or hold them constant with `eqx.partition`, and combine "
        "the network again inside `forward`."
    )


def influences(traced: Any, indices: list[int]) -> bool:
    """Whether the tangents of the outputs are more than symbolic zeros."""
    moved = False

    @jax.custom_jvp
    def look(outputs: list[Array]) -> list[Array]:
        return outputs

    def rule(primals: Any, tangents: Any) -> Any:
        nonlocal moved
        moved = any(not isinstance(t, SymbolicZero) for t in tangents[0])
        return primals[0], [jnp.zeros_like(x) for x in primals[0]]

    look.defjvp(rule, symbolic_zeros=True)

    def tangent(arguments: list[Array]) -> list[Array]:
        def outputs(some: list[Array]) -> list[Array]:
            full = dict(enumerate(arguments)) | dict(zip(indices, some, strict=True))
            return look(jaxpr_as_fun(traced)(*full.values()))

        some = [arguments[index] for index in indices]
        return jax.jvp(outputs, (some,), (some,))[1]

    jax.eval_shape(tangent, list(traced.in_avals))
    return moved
