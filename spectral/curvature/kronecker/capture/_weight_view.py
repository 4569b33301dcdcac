"""The weight of an embedding, as a network sees it that uses it more than once."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ._call import Use


Seen = Callable[[Array, Array, Use], Array]


class WeightView:
    """The matrix W `[tokens, size]` of an embedding, whose products are recorded.

    These are `W @ x` and `x @ W.T` for a tied output layer, `W.T @ x`, and `W[tokens]`. Any other
    use takes the array itself and is not recorded. `eqx.nn.Shared` passes the view on to the layer
    that shares the weight.
    """

    def __init__(self, array: Array, called: Array, seen: Seen):
        self.array = array
        self.called = called
        self.seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.array, name)

    def __jax_array__(self) -> Array:
        return self.array

    def __matmul__(self, x: Array) -> Array:
        return _product(self.called, jnp.asarray(x), self.seen, Use.PRODUCT)

    def __getitem__(self, index: Any) -> Array:
        if isinstance(index, tuple) or not jnp.issubdtype(jnp.result_type(index), jnp.integer):
            return self.array[index]
        return self.seen(self.called[index], jnp.asarray(index), Use.LOOKUP)

    @property
    def T(self) -> "TransposedView":
        """The transposed matrix."""
        return TransposedView(self)


class TransposedView:
    """W^T of a `WeightView`."""

    def __init__(self, view: WeightView):
        self.view = view

    # There is no `__jax_array__`: with it, an array on the left would not ask `__rmatmul__`.
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.view.array.T, name)

    @property
    def T(self) -> WeightView:
        """W itself."""
        return self.view

    def __matmul__(self, x: Array) -> Array:
        return _product(self.view.called.T, jnp.asarray(x), self.view.seen, Use.TRANSPOSED)

    def __rmatmul__(self, x: Shaped[Array, "..."]) -> Array:
        return self.view.seen(x @ self.view.called.T, x, Use.PRODUCT)


def _product(matrix: Float[Array, "rows columns"], x: Array, seen: Seen, use: Use) -> Array:
    if x.ndim == 1:
        return seen(matrix @ x, x, use)
    # The positions are in the last axis of a matrix of columns, and in the leading ones of records.
    z = seen((matrix @ x).swapaxes(-1, -2), x.swapaxes(-1, -2), use)
    return z.swapaxes(-1, -2)
