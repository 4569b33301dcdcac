"""Activations: elementwise functions, and activations with two outputs or with parameters."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._arguments import unknown_name


class AbstractActivation(eqx.Module):
    """Maps the pre-activations of a layer, `[*positions, units]`, to its activations.

    Each unit has `copies` activations: those of unit `i` are at the indices `i`, `i + units`, ...
    Every layer of a network has its own activation, so each layer learns its own parameters.

    A random activation has a parameter `key` in its `__call__` and receives a new key for each
    example and layer. A field `inference` is switched by `eqx.nn.inference_mode`, as in Equinox.
    """

    copies: eqx.AbstractClassVar[int]

    @abstractmethod
    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        """Returns the activations of one example."""

    @abstractmethod
    def fresh(self) -> "AbstractActivation":
        """Returns a copy with its parameters re-initialised."""


class Elementwise(AbstractActivation):
    """A function of one number, such as `jax.nn.relu`.

    Functions are compared by identity, so `function` must outlive the call.
    """

    function: Callable[[Array], Array] = eqx.field(static=True)
    copies: ClassVar[int] = 1

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        return self.function(x)

    def fresh(self) -> "Elementwise":
        return self


class CReLU(AbstractActivation):
    """[relu(x), relu(-x)]: one of the two activations of a unit is positive unless x is 0.

    Shang et al. (2016); for loss of plasticity, Abbas et al. (2023). The next layer has two
    inputs per unit.

    ```python
    CReLU()(jnp.array([1.0, -2.0]))   # [1, 0, 0, 2]
    ```
    """

    copies: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        return jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)], axis=-1)

    def fresh(self) -> "CReLU":
        return self


class DeepFourier(AbstractActivation):
    """[sin(x), cos(x)]: one of the two is always close to linear.

    Lewandowski et al., *Plastic Learning with Deep Fourier Features* (2024). The next layer has
    two inputs per unit; halve the width to keep the number of activations of a ReLU network.
    """

    copies: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        return jnp.concatenate([jnp.sin(x), jnp.cos(x)], axis=-1)

    def fresh(self) -> "DeepFourier":
        return self


class PELU(AbstractActivation):
    """(a / b) x above zero and a (exp(x / b) - 1) below, with a, b > 0 learnt for each layer.

    Trottier et al., *Parametric Exponential Linear Unit for Deep Convolutional Neural Networks*
    (2017). The parameters are log a and log b, so a and b stay positive under any optimiser, and
    weight decay pulls both towards 1. With a = b = 1, the initial values, this is ELU.
    """

    log_a: Float[Array, ""]
    log_b: Float[Array, ""]
    copies: ClassVar[int] = 1

    def __init__(self):
        self.log_a, self.log_b = jnp.zeros(()), jnp.zeros(())

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        a, b = jnp.exp(self.log_a), jnp.exp(self.log_b)
        # Both branches have slope a / b at 0. The exponential is kept from positive numbers, where
        # it could overflow and make the gradient NaN although its branch is not selected.
        return jnp.where(x > 0, (a / b) * x, a * jnp.expm1(jnp.minimum(x, 0) / b))

    def fresh(self) -> "PELU":
        return PELU()


class Rational(AbstractActivation):
    """A quotient P(x) / (1 + |Q(x)|) of polynomials whose coefficients are learnt for each layer.

    P = sum_{j=0..5} p_j x^j and Q = sum_{k=1..4} q_k x^k. This is the safe form of Molina et al.,
    *Pade Activation Units* (2020), as used by Delfosse et al., *Adaptive Rational Activations to
    Boost Deep Reinforcement Learning* (2024). The initial coefficients are the least-squares fit of
    leaky ReLU (slope 0.01) on [-3, 3].
    """

    numerator: Float[Array, "6"]
    denominator: Float[Array, "4"]
    copies: ClassVar[int] = 1

    def __init__(self):
        self.numerator, self.denominator = jnp.array(_NUMERATOR), jnp.array(_DENOMINATOR)

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        above = self.numerator[-1]
        for j in range(4, -1, -1):
            above = above * x + self.numerator[j]
        below = self.denominator[-1]
        for k in range(2, -1, -1):
            below = below * x + self.denominator[k]
        return above / (1 + jnp.abs(below * x))

    def fresh(self) -> "Rational":
        return Rational()


# Fitted with `scipy.optimize.least_squares` on 2001 equally spaced points in [-3, 3].
_NUMERATOR = (0.0335721, 0.505, 1.6526751, 2.0081227, 0.9305755, 0.1521328)
_DENOMINATOR = (0.0, 3.9764806, 0.0, 0.301253)

Activation = AbstractActivation | Callable[[Array], Array] | Literal["relu", "tanh"]
_NAMED: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def as_activation(activation: Activation | str) -> AbstractActivation:
    """Returns the `AbstractActivation` for a name, a function or an activation.

    **Raises:** `ValueError` if the name is unknown.
    """
    if isinstance(activation, AbstractActivation):
        return activation
    if isinstance(activation, str):
        if activation not in _NAMED:
            raise ValueError(f"`activation`: {unknown_name('Name', activation, _NAMED)}")
        return Elementwise(_NAMED[activation])
    return Elementwise(activation)
