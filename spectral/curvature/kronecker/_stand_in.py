"""Replacements for layers that record the inputs and outputs of their calls."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params, Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array, PyTree

from ._layers import is_layer, layer_name


class Call(eqx.Module):
    """One call of a layer in the pass of one example."""

    layer: str = eqx.field(static=True)
    index: int = eqx.field(static=True)  # among the calls of this layer
    inputs: jax.ShapeDtypeStruct = eqx.field(static=True)
    outputs: jax.ShapeDtypeStruct = eqx.field(static=True)


class _AbstractStandIn:
    # A stand-in is not a pytree, so JAX treats it as an opaque leaf. A network that was split by
    # `eqx.partition` can still be combined, and no cache of a jitted function matches it.
    def __init__(self, layer: Any):
        self.layer = layer
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        # For `isinstance` in the network.
        return type(self.layer)


class Watched(_AbstractStandIn):
    """Marks its calls, which use the arrays of `called`; the network sees those of `layer`."""

    def __init__(self, layer: Any, called: Any, name: str):
        super().__init__(layer)
        self.called = called
        self.name = name

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        z = self.called(x, *args, **kwargs)
        inputs = jax.ShapeDtypeStruct(jnp.shape(x), _recorded_dtype(x, z))
        outputs = jax.ShapeDtypeStruct(z.shape, z.dtype)
        call = Call(self.name, self.count, inputs, outputs)
        self.count += 1
        return _mark.bind(z, call=call, times=1)


class Tagged(_AbstractStandIn):
    """Tags its calls: `slots` has two arrays for the index of each, like its input and output.

    The slots do not change the result. Their cotangents are the input, and the cotangent of the
    output. This works through every transformation that the network may apply to the layer.
    """

    def __init__(self, layer: Any, slots: dict[int, tuple[Array, Array]]):
        super().__init__(layer)
        self.slots = slots

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        z = self.layer(x, *args, **kwargs)
        slots = self.slots.get(self.count)
        self.count += 1
        return z if slots is None else _tag(z, jnp.asarray(x, _recorded_dtype(x, z)), *slots)


def replace_layers(model: PyTree, stand_in: Callable[[str, Any], Any]) -> PyTree:
    """The network with each layer replaced by `stand_in(name, layer)`."""
    nodes, structure = jax.tree_util.tree_flatten_with_path(model, is_leaf=is_layer)
    new = [stand_in(layer_name(p), n) if is_layer(n) else n for p, n in nodes]
    return structure.unflatten(new)


def marked_calls(jaxpr: Any, times: float = 1) -> Iterator[tuple[Call, float]]:
    """The marks of `Watched` layers, and how often each is evaluated.

    The count is infinite in a branch and in a loop of unknown length.
    """
    for eqn in jaxpr.eqns:
        if eqn.primitive is _mark:
            yield eqn.params["call"], times * eqn.params["times"]
        name = eqn.primitive.name
        inner = eqn.params["length"] if name == "scan" else float("inf")
        inner = inner if name in ("scan", "while", "cond") else 1
        for other in jaxprs_in_params(eqn.params):
            yield from marked_calls(other, times * inner)


def _recorded_dtype(x: Any, z: Array) -> Any:
    dtype = jnp.result_type(x)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else z.dtype


# The identity. It stays visible in a jaxpr and collects the sizes of the `vmap`s around it. It is
# used only where shapes are traced, and is never compiled.
_mark = Primitive("layer_call")
_mark.def_abstract_eval(lambda z, **info: z)
ad.primitive_jvps[_mark] = lambda z, t, **info: (_mark.bind(*z, **info), t[0])


def _batch_mark(args: Any, dims: Any, *, call: Call, times: int) -> tuple[Any, Any]:
    return _mark.bind(*args, call=call, times=times * args[0].shape[dims[0]]), dims[0]


batching.primitive_batchers[_mark] = _batch_mark


@jax.custom_vjp
def _tag(z: Array, x: Array, input_slot: Array, output_slot: Array) -> Array:
    return z


_tag.defvjp(lambda z, x, *slots: (z, x), lambda x, g: (g, None, x, g))
