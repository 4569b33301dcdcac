"""The curvature regulariser of the paper's toy: a log-barrier on the eigenvalues of the Hessian."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above, check_count
from ...._types import Learner, Signal
from ..._base._algorithm import AbstractTransform


# The Hessian is built whole, and its gradient costs about as much as this many Hessians' columns.
_MOST_PARAMETERS = 2000


class CurvatureBarrier(AbstractTransform[None]):
    """A plain gradient step of rate `lr` on R = -sum_i log(lambda_i^2 + epsilon).

    lambda_i are all eigenvalues of the Hessian of the stream's criterion on the last `window`
    minibatches: flat directions cost, curvature of either sign pays (paper, Appendix C.3, equation
    44, epsilon = 1e-6). After a step of SGD of rate eta, `lr = eta alpha` gives the objective of
    equation 45 with weight alpha, the two gradients being taken one after the other.

    Exact, and so for small networks only. The gradient of R is that of tr(M H), with
    M = -2 H (H^2 + epsilon)^-1 held fixed, so repeated eigenvalues do no harm. Directions in which
    the third derivatives of the loss vanish have no slope.
    """

    lr: Float[Array, ""]
    epsilon: Float[Array, ""]
    window: int = eqx.field(static=True)

    def __init__(
        self,
        lr: float | Float[Array, ""],
        *,
        window: int = 1,
        epsilon: float | Float[Array, ""] = 1e-6,
    ):
        """**Raises:** `ValueError` for a rate or an epsilon that is not positive, or a window below
        one."""
        check_above("lr", lr, 0)
        check_above("epsilon", epsilon, 0)
        check_count("window", window)
        self.lr = jnp.asarray(lr, dtype=float)
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.window = window

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        return None

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        """**Raises:** `ValueError` for a network of more than 2000 parameters."""
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        theta, restore = jax.flatten_util.ravel_pytree(params)
        if theta.size > _MOST_PARAMETERS:
            raise ValueError(
                f"`CurvatureBarrier` builds the whole Hessian, but the network has {theta.size} "
                f"parameters: use it with at most {_MOST_PARAMETERS}."
            )
        batch = signal.window(self.window)

        def loss(theta):
            model = eqx.combine(restore(theta), static)
            now = Learner(model, learner.model_state, learner.optimiser)
            return signal.loss_of(now, batch, key=key)

        eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(loss)(theta))
        weights = -2 * eigenvalues / (eigenvalues**2 + self.epsilon)
        fixed = (vectors * weights[None, :]) @ vectors.T
        slope = jax.grad(lambda t: jnp.sum(fixed * jax.hessian(loss)(t)))(theta)
        model = eqx.combine(restore(theta - self.lr * slope), static)
        return Learner(model, learner.model_state, learner.optimiser), state
