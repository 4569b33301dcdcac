"""Gradient descent on a linearised network, in its outputs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...curvature import Risk
from ._linearisation import Linearisation, Outputs


def mean_loss(risk: Risk, outputs: Outputs) -> Float[Array, ""]:
    # `losses` returns one number for each example or their mean; the mean of either is the mean.
    # The mean of a risk is over its labels.
    scale = risk.num_examples / risk.num_labels
    return scale * jnp.mean(risk.loss.losses(outputs, risk.targets))


def descended(
    risk: Risk,
    network: Linearisation,
    lr: Float[Array, ""],
    weight_decay: Float[Array, ""],
    steps: Int[Array, ""],
) -> Outputs:
    """The outputs after `steps` steps, one after the other, for any loss.

    A step theta - lr (J^T g + w theta) changes the outputs z = f(theta_0) + J (theta - theta_0) to
    z - lr (K g + w (z - b)), with K = J J^T and the outputs b of the linearised network at
    theta = 0. (The kernel here is K / N, because the gradient is that of the sum of the losses.)
    """
    gradient = jax.grad(lambda z: risk.num_examples * mean_loss(risk, z))

    def step(_: Int[Array, ""], z: Outputs) -> Outputs:
        move = (network.kernel @ gradient(z).reshape(-1)).reshape(z.shape)
        return (z - lr * (move + weight_decay * (z - network.at_zero))).astype(z.dtype)

    return jax.lax.fori_loop(0, steps, step, network.outputs)


def residual_limits(
    values: Float[Array, " rows"], at_zero: Float[Array, " rows"], weight_decay: Float[Array, ""]
) -> Float[Array, " rows"]:
    """w c / (lambda + w), to which the residual along each eigenvector tends; 0 without a penalty.

    `at_zero` is c, the residual of the linearised network at theta = 0.
    """
    pull = values + weight_decay
    return weight_decay * at_zero / jnp.where(pull > 0, pull, 1)


def shrunk(
    values: Float[Array, " rows"],
    distances: Float[Array, " rows"],
    lr: Float[Array, ""],
    weight_decay: Float[Array, ""],
    steps: Float[Array, ""],
    odd: Bool[Array, ""],
) -> Float[Array, " rows"]:
    """(1 - lr (lambda + w))^steps times the distance, for each eigenvector."""
    pull = lr * (values + weight_decay)
    # log |1 - pull| in a form in which a small pull keeps its digits.
    logarithm = jnp.log1p(jnp.maximum(-pull, pull - 2))
    # In logarithms, 0 times a growth beyond the range of the numbers is 0.
    size = jnp.exp(steps * logarithm + jnp.log(jnp.abs(distances)))
    return jnp.where(odd & (pull > 1), -1, 1) * jnp.sign(distances) * size
