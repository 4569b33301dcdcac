"""The error of the value of an action."""

from abc import abstractmethod

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above
from ...._base._precision import in_single
from ...._base._quantity import Quantity
from ....curvature import AbstractLoss
from ._dqn_batch import DQNBatch
from ._value_network import ActionValues


class AbstractValueError(AbstractLoss):
    """A function of Q(s, a) - target, for the action a that was taken and a constant target.

    The values of the other actions do not count. So the Hessian in the outputs has a single entry,
    the second derivative of the function, at the action. The Gauss-Newton matrix, `Gram`, `Fisher`
    and `KFAC` are built from it. The target is a part of the batch: no derivative passes through
    it, neither here nor in the full Hessian, and this is the curvature of the update that is made
    (a semi-gradient), not that of a Bellman residual.
    """

    @abstractmethod
    def error(self, difference: Float[Array, " examples"]) -> Float[Array, " examples"]:
        """The loss of each example."""

    @abstractmethod
    def second_derivative(self, difference: Float[Array, " examples"]) -> Float[Array, " examples"]:
        """The second derivative of `error`."""

    def losses(self, outputs: ActionValues, targets: DQNBatch) -> Float[Array, " examples"]:
        return self.error(self._difference(outputs, targets))

    def hessian_product(
        self, outputs: ActionValues, targets: DQNBatch, tangent: ActionValues
    ) -> ActionValues:
        return self._curvature(outputs, targets) * in_single(tangent)

    def hessian_root(
        self, outputs: ActionValues, targets: DQNBatch
    ) -> Float[Array, "1 examples actions"]:
        return jnp.sqrt(self._curvature(outputs, targets))[None]

    def sampled_gradient(
        self, outputs: ActionValues, targets: DQNBatch, *, key: PRNGKeyArray
    ) -> ActionValues:
        """Values are drawn from normal distributions whose Fisher information is H."""
        noise = jax.random.normal(key, targets.action.shape, in_single(outputs).dtype)
        return jnp.sqrt(self._curvature(outputs, targets)) * noise[:, None]

    def metrics(self, outputs: ActionValues, targets: DQNBatch) -> dict[str, Float[Array, ""]]:
        """Returns the mean value of the action of the largest value, and the mean target."""
        return {
            "value": jnp.mean(jnp.max(in_single(outputs), axis=1)),
            "target": jnp.mean(targets.target),
        }

    def _difference(self, outputs: ActionValues, targets: DQNBatch) -> Float[Array, " examples"]:
        taken = jnp.take_along_axis(in_single(outputs), targets.action[:, None], axis=1)[:, 0]
        return taken - targets.target

    def _curvature(self, outputs: ActionValues, targets: DQNBatch) -> ActionValues:
        """The diagonal of H."""
        second = self.second_derivative(self._difference(outputs, targets))
        return (
            jax.nn.one_hot(targets.action, outputs.shape[1], dtype=second.dtype) * second[:, None]
        )


class SquaredValueError(AbstractValueError):
    """(Q(s, a) - target)^2. The mean over a minibatch is the loss of Mnih et al. (2013)."""

    def error(self, difference: Float[Array, " examples"]) -> Float[Array, " examples"]:
        return difference**2

    def second_derivative(self, difference: Float[Array, " examples"]) -> Float[Array, " examples"]:
        return jnp.full_like(difference, 2)


class HuberValueError(AbstractValueError):
    """The Huber loss of d = Q(s, a) - target: d^2 / 2 if |d| is at most `threshold`, otherwise
    threshold (|d| - threshold / 2).

    Its gradient is d, clipped to +-threshold, as in Mnih et al. (2015). Its second derivative is 1
    for small errors and 0 beyond the threshold. So Gauss-Newton matrices leave out the transitions
    whose errors are large, and `HessianSpectrum` of the full Hessian has only the network's own
    curvature there. If all errors are large, the Gauss-Newton matrix is 0.

    ```python
    error = tasks.HuberValueError(threshold=1.0)
    ```

    **Raises:** `ValueError` if the threshold is not positive.
    """

    threshold: Float[Array, ""]

    def __init__(self, *, threshold: float | Float[Array, ""] = 1.0):
        check_above("threshold", threshold, 0)
        self.threshold = jnp.asarray(threshold, dtype=float)

    def error(self, difference: Float[Array, " examples"]) -> Float[Array, " examples"]:
        size = jnp.abs(difference)
        linear = self.threshold * (size - self.threshold / 2)
        return jnp.where(size <= self.threshold, difference**2 / 2, linear)

    def second_derivative(self, difference: Float[Array, " examples"]) -> Float[Array, " examples"]:
        return (jnp.abs(difference) <= self.threshold).astype(difference.dtype)


def value_quantities() -> dict[str, Quantity]:
    """What the numbers are that are recorded with the error of values."""
    return {
        "loss": Quantity("loss", better="lower", scale="log", reduce="mean_known"),
        "value": Quantity("value of the best action", reduce="mean_known"),
        "epsilon": Quantity("epsilon", limits=(0.0, 1.0)),
    }
