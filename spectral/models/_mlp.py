"""The multilayer perceptron."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._arguments import check_count, unknown_name
from ._network import AbstractNetwork
from ._units import Entries, UnitGroup


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}
_kaiming_uniform = jax.nn.initializers.he_uniform(in_axis=1, out_axis=0)


class MLP(AbstractNetwork):
    """A multilayer perceptron with Kaiming-uniform weights and zero biases.

    Weights of every layer, the last included, are uniform on +-sqrt(6 / fan_in). The defaults are
    the network of the paper's Permuted MNIST (Appendix G.1): three hidden layers of 1000 ReLUs.

    ```python
    model = MLP(784, 10, key=jax.random.key(0))
    logits, taps = model(jnp.zeros(784))     # taps: {"hidden_0": [1000], ...}
    ```
    """

    layers: tuple[eqx.nn.Linear, ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int = 1000,
        depth: int = 3,
        activation: Callable[[Array], Array] | Literal["relu", "tanh"] = "relu",
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_size`, `out_size`: length of the input and of the output vector.
        - `width`: units in each hidden layer.
        - `depth`: hidden layers; 0 gives a linear map.
        - `activation`: `"relu"`, `"tanh"`, or any elementwise function that outlives the call.

        **Raises:** `ValueError` for a size below one, a negative depth or an unknown name.
        """
        check_count("in_size", in_size)
        check_count("out_size", out_size)
        check_count("width", width)
        check_count("depth", depth, least=0)
        sizes = [in_size, *[width] * depth, out_size]
        keys = jax.random.split(key, depth + 1)
        self.layers = tuple(
            _dense(m, n, key=k) for m, n, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        if isinstance(activation, str):
            if activation not in _ACTIVATIONS:
                raise ValueError(f"`activation`: {unknown_name('Name', activation, _ACTIVATIONS)}")
            self.activation = _ACTIVATIONS[activation]
        else:
            self.activation = activation

    def __call__(
        self, x: Float[Array, " in_size"], /
    ) -> tuple[Float[Array, " out_size"], dict[str, Float[Array, " units"]]]:
        if x.shape != self.layers[0].weight.shape[1:]:
            raise ValueError(
                f"`x` has shape {x.shape}, but this network takes vectors of "
                f"{self.layers[0].weight.shape[1]}: pass `in_size={x.size}`, or flatten it."
            )
        taps = {}
        for i, layer in enumerate(self.layers[:-1]):
            x = self.activation(layer(x))
            taps[f"hidden_{i}"] = x
        return self.layers[-1](x), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """One group for each hidden layer, named as in the taps."""
        return tuple(
            UnitGroup(
                name=f"hidden_{i}",
                size=layer.weight.shape[0],
                incoming=(Entries(lambda m, i=i: m.layers[i].weight, 0),),
                bias=(Entries(lambda m, i=i: m.layers[i].bias, 0),),
                outgoing=(Entries(lambda m, i=i: m.layers[i + 1].weight, 1),),
                draw=_kaiming_uniform,
            )
            for i, layer in enumerate(self.layers[:-1])
        )

    def fresh(self, *, key: PRNGKeyArray) -> "MLP":
        """A newly initialised network of the same shape."""
        first, last = self.layers[0].weight, self.layers[-1].weight
        return MLP(
            first.shape[1],
            last.shape[0],
            width=first.shape[0],
            depth=len(self.layers) - 1,
            activation=self.activation,
            key=key,
        )


def _dense(in_size: int, out_size: int, *, key: PRNGKeyArray) -> eqx.nn.Linear:
    layer = eqx.nn.Linear(in_size, out_size, key=key)
    weight = _kaiming_uniform(key, (out_size, in_size), layer.weight.dtype)
    return eqx.tree_at(lambda d: (d.weight, d.bias), layer, (weight, jnp.zeros(out_size)))
