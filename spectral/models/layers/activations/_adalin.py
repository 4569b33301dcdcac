"""Adaptive linearity injection."""

from collections.abc import Callable
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above
from ._activation import AbstractActivation, named_function, UnitParameter


class AdaLin(AbstractActivation):
    """phi(x) + alpha x g(x) with g(x) = cos((pi / 2) |phi'(x)| / L), in dense layers.

    Razavi Rohani et al., *Preserving Plasticity in Continual Learning with Adaptive Linearity
    Injection* (2025). L is the Lipschitz constant of phi, so a unit becomes linear where phi is
    flat. alpha is learnt for each unit. g is a constant for differentiation (a stopped gradient),
    which belongs to the definition. With ReLU this is a leaky ReLU of slope alpha for each unit.

    The initial alpha is uniform on [0, 1), as a public replication has it. A renewed unit draws it
    again. Weight decay acts on alpha as on every parameter. Whether alpha belongs to a channel or
    to a pixel of a convolution is not known to us, so convolutions are rejected.

    Networks make the activations of their layers from the one that they are given, which has no
    alpha of its own:

    ```python
    model = MLP(3, 2, width=4, activation=AdaLin(function="tanh"), key=jax.random.key(0))
    model.activations[0].alpha   # [4]
    ```

    **Raises:** `ValueError` if it is called without an alpha for each unit, as in a convolution.
    """

    function: Callable[[Array], Array] = eqx.field(static=True)
    lipschitz: float = eqx.field(static=True)
    alpha: Float[Array, " units"] | None
    copies: ClassVar[int] = 1

    def __init__(
        self,
        *,
        function: Callable[[Array], Array] | Literal["relu", "tanh"] = "relu",
        lipschitz: float = 1.0,
    ):
        """**Arguments:**

        - `function`: phi, any elementwise function that outlives the call, or its name.
        - `lipschitz`: the Lipschitz constant L of phi, which is 1 for ReLU and tanh.

        **Raises:** `ValueError` for an unknown name or an L that is not positive.
        """
        check_above("lipschitz", lipschitz, 0)
        self.function = named_function("function", function)
        self.lipschitz = float(lipschitz)
        self.alpha = None

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        if self.alpha is None or x.shape != self.alpha.shape:
            found = "none" if self.alpha is None else f"{self.alpha.size}"
            raise ValueError(
                f"`alpha` of `AdaLin` has {found} of its numbers for pre-activations of shape "
                f"{x.shape}, but needs one for each unit of a dense layer: pass `AdaLin()` as the "
                "`activation` of an `MLP` or an `ActorCritic`, or call its `fresh`."
            )
        constant = jax.lax.stop_gradient(x)
        slope = jax.jvp(self.function, (constant,), (jnp.ones_like(x),))[1]
        flatness = jnp.cos(jnp.pi / 2 * jnp.abs(slope) / self.lipschitz)
        return self.function(x) + self.alpha * x * jax.lax.stop_gradient(flatness)

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "AdaLin":
        none = lambda a: a.alpha
        return eqx.tree_at(none, self, _draw(key, (num_units,)), is_leaf=lambda x: x is None)

    def unit_parameters(self) -> tuple[UnitParameter, ...]:
        return (UnitParameter(lambda a: a.alpha, _draw),)


def _draw(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.uniform(key, shape)
