"""What an activation is, and elementwise functions as activations."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import unknown_name


class UnitParameter(eqx.Module):
    """A parameter of an activation that each unit has for itself, in an array `[units]`.

    - `where`: the array in the activation, as in `eqx.tree_at`.
    - `draw`: `draw(key, shape)` draws initial values.
    """

    where: Callable[[Any], Float[Array, " units"]] = eqx.field(static=True)
    draw: Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, "..."]] = eqx.field(static=True)


class AbstractActivation(eqx.Module):
    """Maps the pre-activations of a layer, `[*positions, units]`, to its activations.

    Each unit has `copies` activations: those of unit `i` are at the indices `i`, `i + units`, ...
    Every layer of a network has its own activation, so each layer learns its own parameters. A
    network makes them with `fresh` from the activation that it is given.

    A random activation has a parameter `key` in its `__call__` and receives a new key for each
    example and layer. A field `inference` is switched by `eqx.nn.inference_mode`, as in Equinox.
    """

    copies: eqx.AbstractClassVar[int]

    @abstractmethod
    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        """Returns the activations of one example."""

    @abstractmethod
    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "AbstractActivation":
        """Returns a copy for a layer of `num_units` units, with initial parameters."""

    def unit_parameters(self) -> tuple[UnitParameter, ...]:
        """Returns the parameters that each unit has for itself, which are drawn again when the unit
        is renewed. By default there are none."""
        return ()


class Elementwise(AbstractActivation):
    """A function of one number, such as `jax.nn.relu`.

    Functions are compared by identity, so `function` must outlive the call.
    """

    function: Callable[[Array], Array] = eqx.field(static=True)
    copies: ClassVar[int] = 1

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        return self.function(x)

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "Elementwise":
        return self


Activation = AbstractActivation | Callable[[Array], Array] | Literal["relu", "tanh"]
_NAMED: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def as_activation(activation: Activation | str) -> AbstractActivation:
    """Returns the `AbstractActivation` for a name, a function or an activation.

    **Raises:** `ValueError` if the name is unknown.
    """
    if isinstance(activation, AbstractActivation):
        return activation
    return Elementwise(named_function("activation", activation))


def named_function(
    argument: str, function: Callable[[Array], Array] | str
) -> Callable[[Array], Array]:
    """Returns the elementwise function for a name or a function.

    **Raises:** `ValueError` if the name is unknown.
    """
    if not isinstance(function, str):
        return function
    if function not in _NAMED:
        raise ValueError(f"`{argument}`: {unknown_name('Name', function, _NAMED)}")
    return _NAMED[function]


def one_for_each(
    activation: AbstractActivation, sizes: Sequence[int], *, key: PRNGKeyArray
) -> tuple[AbstractActivation, ...]:
    """Returns a fresh activation for each of the layers, which have `sizes` units."""
    return tuple(
        activation.fresh(size, key=jax.random.fold_in(key, i)) for i, size in enumerate(sizes)
    )
