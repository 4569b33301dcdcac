"""One use of the weights of a layer, and how often it happens."""

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params, Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array


class Use(enum.Enum):
    """What a layer does with its weight W, which has the rows and columns of [weight, bias]."""

    CALL = enum.auto()  # as the layer defines: W x + b, or a convolution
    PRODUCT = enum.auto()  # W x, without the bias
    TRANSPOSED = enum.auto()  # W^T x
    LOOKUP = enum.auto()  # the row of a token


class Call(eqx.Module):
    """One use of a layer in the pass of one example."""

    layer: str = eqx.field(static=True)
    index: int = eqx.field(static=True)  # among the uses of this layer
    use: Use = eqx.field(static=True)
    inputs: jax.ShapeDtypeStruct = eqx.field(static=True)
    outputs: jax.ShapeDtypeStruct = eqx.field(static=True)
    sizes: tuple[int, ...] = eqx.field(static=True, default=())  # of the `vmap`s around it

    @property
    def slots(self) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """The shapes of the inputs and outputs at all positions of an example."""
        whole = lambda s: jax.ShapeDtypeStruct((*self.sizes, *s.shape), s.dtype)
        return whole(self.inputs), whole(self.outputs)


def mark(z: Array, call: Call) -> Array:
    """`z` itself, with a mark in the jaxpr."""
    return _mark.bind(z, call=call, sizes=())


def marked_calls(jaxpr: Any, times: float = 1) -> Iterator[tuple[Call, float]]:
    """The marked calls with the sizes of the `vmap`s around them, and how often each is evaluated.

    The count is infinite in a branch and in a loop of unknown length.
    """
    for eqn in jaxpr.eqns:
        if eqn.primitive is _mark:
            yield dataclasses.replace(eqn.params["call"], sizes=eqn.params["sizes"]), times
        name = eqn.primitive.name
        inner = eqn.params["length"] if name == "scan" else float("inf")
        inner = inner if name in ("scan", "while", "cond") else 1
        for other in jaxprs_in_params(eqn.params):
            yield from marked_calls(other, times * inner)


def own_part(slot: Array, z: Array, num_axes: int) -> Array:
    """The part of `slot` that belongs to the position of `z`.

    The slot has `num_axes` leading axes, one for each `vmap` in which `z` will be batched and the
    slot will not, the outermost first. A sum over them, as JAX would take for the cotangent of an
    array that a `vmap` does not map, would lose the positions.
    """
    return _own.bind(slot, z, num_axes=num_axes) if num_axes else slot


# The identity. It stays visible in a jaxpr and collects the sizes of the `vmap`s around it. It is
# used only where shapes are traced, and is never compiled.
_mark = Primitive("layer_call")
_mark.def_abstract_eval(lambda z, **info: z)
ad.primitive_jvps[_mark] = lambda z, t, **info: (_mark.bind(*z, **info), t[0])


def _batch_mark(args: Any, dims: Any, *, call: Call, sizes: tuple[int, ...]) -> tuple[Any, Any]:
    sizes = (args[0].shape[dims[0]], *sizes)
    return _mark.bind(*args, call=call, sizes=sizes), dims[0]


batching.primitive_batchers[_mark] = _batch_mark

# An index of the slot by the position. Every `vmap` around it takes one axis, and then it is gone:
# it is never compiled either.
_own = Primitive("own_part")
_own.def_abstract_eval(lambda slot, z, num_axes: slot.update(shape=slot.shape[num_axes:]))


def _batch_own(args: Any, dims: Any, *, num_axes: int) -> tuple[Any, Any]:
    (slot, z), (of_slot, of_z) = args, dims
    assert of_slot is None  # the slots of all examples are mapped by the outermost `vmap`
    return own_part(slot, jnp.moveaxis(z, of_z, 0), num_axes - 1), 0


batching.primitive_batchers[_own] = _batch_own
