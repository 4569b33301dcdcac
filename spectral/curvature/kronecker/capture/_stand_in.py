"""Replacements for layers that record the inputs and outputs of their calls."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ._call import Call, mark, own_part, Use
from ._layers import is_embedding, is_layer, layer_name
from ._weight_view import WeightView


class _AbstractStandIn:
    # A stand-in is not a pytree, so JAX treats it as an opaque leaf. A network that was split by
    # `eqx.partition` can still be combined, and no cache of a jitted function matches it.
    def __init__(self, layer: Any, called: Any):
        self.layer = layer
        self.called = called
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        if name == "weight" and is_embedding(self.layer):
            return WeightView(self.layer.weight, self.called.weight, self.seen)
        return getattr(self.layer, name)

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        # For `isinstance` in the network.
        return type(self.layer)

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        use = Use.LOOKUP if is_embedding(self.layer) else Use.CALL
        return self.seen(self.called(x, *args, **kwargs), x, use)

    def seen(self, z: Array, x: Array, use: Use) -> Array:
        """The outputs `z` of the layer for `x`, once they are recorded."""
        index = self.count
        self.count += 1
        # Tokens are recorded as floating-point numbers, because they take the place of cotangents.
        dtype = jnp.result_type(x)
        x = jnp.asarray(x, dtype if jnp.issubdtype(dtype, jnp.floating) else z.dtype)
        return self._recorded(z, x, use, index)

    @abstractmethod
    def _recorded(self, z: Array, x: Array, use: Use, index: int) -> Array: ...


class Watched(_AbstractStandIn):
    """Marks its calls, which use the arrays of `called`; the network sees those of `layer`."""

    def __init__(self, layer: Any, called: Any, name: str):
        super().__init__(layer, called)
        self.name = name

    def _recorded(self, z: Array, x: Array, use: Use, index: int) -> Array:
        inputs, outputs = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, z))
        return mark(z, Call(self.name, index, use, inputs, outputs))


class Tagged(_AbstractStandIn):
    """Tags its calls: `slots` has two arrays for the index of each, like its input and output at
    all positions.

    The slots do not change the result. Their cotangents are the input, and the cotangent of the
    output. This works through every transformation that the network may apply to the layer.
    """

    def __init__(self, layer: Any, slots: dict[int, tuple[Array, Array]]):
        super().__init__(layer, layer)
        self.slots = slots

    def _recorded(self, z: Array, x: Array, use: Use, index: int) -> Array:
        if index not in self.slots:
            return z
        of_inputs, of_outputs = self.slots[index]
        num_axes = of_outputs.ndim - z.ndim
        return _tag(z, x, own_part(of_inputs, z, num_axes), own_part(of_outputs, z, num_axes))


def replace_layers(model: PyTree, stand_in: Callable[[str, Any], Any]) -> PyTree:
    """The network with each layer replaced by `stand_in(name, layer)`."""
    nodes, structure = jax.tree_util.tree_flatten_with_path(model, is_leaf=is_layer)
    new = [stand_in(layer_name(p), n) if is_layer(n) else n for p, n in nodes]
    return structure.unflatten(new)


@jax.custom_vjp
def _tag(z: Array, x: Array, input_slot: Array, output_slot: Array) -> Array:
    # This is `z`, because the slots are 0. It is mapped over the examples even if `z` is not, for
    # example for a table of positions; its cotangent would be summed over them otherwise.
    return jnp.where(output_slot != output_slot, output_slot, z)


def _tagged(z: Array, x: Array, *slots: Array) -> tuple[Array, Array]:
    return _tag(z, x, *slots), x


_tag.defvjp(_tagged, lambda x, g: (g, None, x, g))
