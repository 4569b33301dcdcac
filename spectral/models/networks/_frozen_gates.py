"""A ReLU network of one hidden layer whose gates never switch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_count
from .._network import AbstractNetwork
from ..layers._initialisers import AbstractInitialiser, KaimingUniform
from ..units._entries import Entries
from ..units._unit_group import UnitGroup
from ._frozen import Frozen, frozen, thawed


_KAIMING_UNIFORM = KaimingUniform()


class FrozenGates(AbstractNetwork):
    """A ReLU network of one hidden layer in which the initial weights decide for good which units
    are on: f(x) = A (g(x) * W x) with the gates g(x) = 1 where W_0 x > 0.

    Only W is trained. The gates and the output weights A are fixed, and there are no biases.
    Initially W is W_0, and the outputs are those of the ReLU network. f is linear in W, and it is
    the linearisation of that network in its first layer, because f(W_0) = J W_0. The difference
    from `Linearised` is that the parameters are W itself, so `algorithms.L2` pulls towards 0.

    The neural tangent kernel is constant. Its entry for x, x' and the outputs k, l is
    <x, x'> sum_j A_kj A_lj g_j(x) g_j(x'). So it depends on W_0 through the gates alone.

    The taps are g(x) * W x, which may be negative once W has moved. A unit is dead if its gate is
    off on all data, whatever W is. The units have incoming weights and no outgoing weights that
    could be renewed. (He et al.'s abstract mentions a linearised ReLU network; its form is ours.)

    ```python
    model = FrozenGates(3, 2, width=4, key=jax.random.key(0))
    outputs, taps = model(jnp.ones(3))  # taps: {"hidden_0": [4]}
    ```
    """

    weight: Float[Array, "width in_size"]
    gates: Frozen  # W_0
    head: Frozen  # A
    initialiser: AbstractInitialiser
    head_initialiser: AbstractInitialiser

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int = 1000,
        initialiser: AbstractInitialiser = _KAIMING_UNIFORM,
        head_initialiser: AbstractInitialiser | None = None,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_size`, `out_size`: length of the input and of the output vector.
        - `width`: the number of hidden units.
        - `initialiser`: draws W_0; biases that it draws are left out.
        - `head_initialiser`: draws A, by default `initialiser`.

        **Raises:** `ValueError` if a size is below 1.
        """
        for name, size in {"in_size": in_size, "out_size": out_size, "width": width}.items():
            check_count(name, size)
        self.initialiser = initialiser
        self.head_initialiser = initialiser if head_initialiser is None else head_initialiser
        first, last = jax.random.split(key)
        self.weight = self.initialiser(first, (width, in_size))[0]
        self.gates = frozen(self.weight)
        self.head = frozen(self.head_initialiser(last, (out_size, width))[0])

    def __call__(
        self, x: Float[Array, " in_size"], /
    ) -> tuple[Float[Array, " out_size"], dict[str, Float[Array, " width"]]]:
        if x.shape != self.weight.shape[1:]:
            raise ValueError(
                f"`x` has shape {x.shape}, but this network takes vectors of "
                f"{self.weight.shape[1]} numbers: flatten `x`, in streams by "
                f"`loader=Loader(flat=True)`, or make the network with another `in_size`."
            )
        hidden = jnp.where(thawed(self.gates) @ x > 0, self.weight @ x, 0)
        return thawed(self.head) @ hidden, {"hidden_0": hidden}

    def units(self) -> tuple[UnitGroup, ...]:
        """One group, whose outgoing weights are fixed, so that its units cannot be renewed."""
        size = self.weight.shape[0]
        group = UnitGroup(
            name="hidden_0",
            size=size,
            incoming=(Entries(lambda m: m.weight, 0),),
            bias=(),
            outgoing=(),
            draw=lambda key, shape: self.initialiser.rows(key, shape, size),
        )
        return (group,)

    def fresh(self, *, key: PRNGKeyArray) -> "FrozenGates":
        """Returns a newly initialised network of the same shape, with gates of its own."""
        return FrozenGates(
            self.weight.shape[1],
            self.head.bits.shape[0],
            width=self.weight.shape[0],
            initialiser=self.initialiser,
            head_initialiser=self.head_initialiser,
            key=key,
        )
