"""The curvature regulariser of the paper's toy: a log-barrier on the eigenvalues of the Hessian."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._base._scaling import exponent_of, times_power
from ...._types import Learner, Signal
from ..._base._arguments import as_positive, Number
from ..._base._protocols import AbstractTransform


# The whole Hessian is built, and the gradient costs about as much as this many columns of it.
_MOST_PARAMETERS = 2000


class CurvatureBarrier(AbstractTransform[None]):
    """A plain gradient step with learning rate `lr` on R = -sum_i log(lambda_i^2 + epsilon).

    lambda_i are all eigenvalues of the Hessian of the stream's criterion on the last `window`
    minibatches. Flat directions are penalised, and curvature of either sign is rewarded (paper,
    Appendix C.3, equation 44, epsilon = 1e-6). After an SGD step with learning rate eta,
    `lr = eta alpha` gives the objective of equation 45 with weight alpha, with the two gradients
    applied one after the other.

    The computation is exact, so it is for small networks only. The gradient of R equals that of
    tr(M H) with M = -2 H (H^2 + epsilon)^-1 held fixed, so repeated eigenvalues are harmless.
    Directions in which the third derivatives of the loss vanish have zero gradient.
    """

    lr: Float[Array, ""]
    epsilon: Float[Array, ""]
    window: int = eqx.field(static=True, converter=as_int)

    def __init__(self, lr: Number, *, window: int = 1, epsilon: Number = 1e-6):
        """**Raises:** `ValueError` for an `lr` or `epsilon` that is not positive, or a window below
        one."""
        self.lr = as_positive("lr", lr)
        self.epsilon = as_positive("epsilon", epsilon)
        check_count("window", window)
        self.window = window

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        return None

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        """**Raises:** `ValueError` for a network of more than 2000 parameters or a window that does
        not divide the chunk."""
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        theta, restore = jax.flatten_util.ravel_pytree(params)
        if theta.size > _MOST_PARAMETERS:
            raise ValueError(
                f"`CurvatureBarrier` builds the whole Hessian, but the network has {theta.size} "
                f"parameters: use it with at most {_MOST_PARAMETERS}."
            )
        batch = signal.window(self.window)
        at = lambda theta: replace(learner, model=eqx.combine(restore(theta), static))
        hessian = jax.hessian(lambda theta: signal.loss_of(at(theta), batch, key=key))
        eigenvalues, vectors = jnp.linalg.eigh(hessian(theta))
        weights = barrier_weights(eigenvalues, self.epsilon)
        fixed = (vectors * weights[None, :]) @ vectors.T
        slope = jax.grad(lambda theta: jnp.sum(fixed * hessian(theta)))(theta)
        return at(theta - self.lr * slope), state


def barrier_weights(
    eigenvalues: Float[Array, " n"], epsilon: Float[Array, ""]
) -> Float[Array, " n"]:
    """-2 lambda / (lambda^2 + epsilon), the slope of the barrier at each eigenvalue."""
    # In units of a power of two for each large eigenvalue, whose square may overflow.
    exponent = jnp.maximum(exponent_of(eigenvalues, ()), 0)
    units = times_power(eigenvalues, -exponent)
    slopes = -2 * units / (units**2 + times_power(epsilon, -2 * exponent))
    return times_power(slopes, -exponent)
