"""Action values from a value of the state and advantages of the actions."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._network import AbstractNetwork
from ..layers._call_key import call_with_key
from ..layers._initialised import dense
from ..layers._initialisers import AbstractInitialiser
from ..layers._lecun_uniform import LecunUniform
from ..layers._sparse import Sparse
from ..units._entries import Entries
from ..units._unit_group import UnitGroup
from ..units._within import within
from ._convnet import ConvNet
from ._mlp import MLP


_LECUN_UNIFORM = LecunUniform()


class Dueling(AbstractNetwork):
    """A network of action values with a dueling head (Wang et al., 2016, equation 9): the value of
    action a is V + A_a - mean(A).

    The outputs of `network` are the advantages A, and one more output of its last hidden layer is
    the value V of the state. Both are linear in that layer; Wang et al. give each of the two a
    hidden layer first. Taps and units are those of `network`.

    ```python
    model = Dueling(MLP(4, 2, width=8, depth=1, key=jax.random.key(0)), key=jax.random.key(1))
    values, taps = model(jnp.zeros(4))   # [2], {"hidden_0": [8]}
    ```
    """

    network: MLP | ConvNet
    value: eqx.nn.Linear | Sparse
    initialiser: AbstractInitialiser

    def __init__(
        self,
        network: MLP | ConvNet,
        *,
        initialiser: AbstractInitialiser = _LECUN_UNIFORM,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `network`: an `MLP` or a `ConvNet` with one output for each action.
        - `initialiser`: draws the weights and the bias of the value.

        **Raises:** `TypeError` for another network, `ValueError` if it has no dense hidden layer.
        """
        if not isinstance(network, MLP | ConvNet):
            raise TypeError(
                f"`network` is a {type(network).__name__}, but must be an `MLP` or a `ConvNet`: "
                "pass, for example, `MLP(4, 2, key=key)`."
            )
        group = _last(network)
        self.network = network
        self.initialiser = initialiser
        features = group.size * group.copies
        self.value = dense(features, 1, initialiser=initialiser, key=key)

    def __call__(
        self, x: Float[Array, "..."], /, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " actions"], dict[str, Float[Array, "activations ..."]]]:
        advantages, taps = call_with_key(self.network, x, key=key)
        value = self.value(taps[_last(self.network).name])
        return value + (advantages - jnp.mean(advantages, keepdims=True)), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """The units of the network. Those of its last hidden layer also feed the value."""
        *others, last = (within(group, lambda m: m.network) for group in self.network.units())
        into_value = Entries(
            lambda m: m.value.weight, 1, tile=last.copies, fed_bias=lambda m: m.value.bias
        )
        return (*others, dataclasses.replace(last, outgoing=(*last.outgoing, into_value)))

    def fresh(self, *, key: PRNGKeyArray) -> "Dueling":
        """Returns a newly initialised network of the same shape."""
        network_key, value_key = jax.random.split(key)
        network: Any = self.network.fresh(key=network_key)
        return Dueling(network, initialiser=self.initialiser, key=value_key)


def _last(network: MLP | ConvNet) -> UnitGroup:
    """The units of the last hidden layer. **Raises:** `ValueError` if they are not dense."""
    groups = network.units()
    if not groups or groups[-1].incoming[0].where(network).ndim != 2:
        raise ValueError(
            f"`network` is a {type(network).__name__} without a dense hidden layer, from which "
            "the value of the state would be read: pass `depth=1` or more to an `MLP`, or "
            "`dense_sizes` to a `ConvNet`."
        )
    return groups[-1]
