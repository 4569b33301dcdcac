"""Activations with parameters that are learnt for each layer."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._activation import AbstractActivation


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

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "PELU":
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

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "Rational":
        return Rational()


# Fitted with `scipy.optimize.least_squares` on 2001 equally spaced points in [-3, 3].
_NUMERATOR = (0.0335721, 0.505, 1.6526751, 2.0081227, 0.9305755, 0.1521328)
_DENOMINATOR = (0.0, 3.9764806, 0.0, 0.301253)
