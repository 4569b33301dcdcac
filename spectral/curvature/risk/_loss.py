"""What curvature needs to know of a loss, as a function of a network's outputs."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree


class AbstractLoss(eqx.Module):
    """The loss of a network's outputs, example by example, and its curvature in the outputs.

    Outputs and targets are pytrees of arrays `[examples, ...]`; the loss of an example depends on
    the outputs of this example alone. H stands for the Hessian of the loss of one example in its
    outputs, a positive semi-definite matrix.
    """

    @abstractmethod
    def losses(self, outputs: PyTree, targets: PyTree) -> Float[Array, "*examples"]:
        """The loss of each example; or one number, if the loss is a mean over the batch that can
        not be told apart."""

    @abstractmethod
    def hessian_product(self, outputs: PyTree, targets: PyTree, tangent: PyTree) -> PyTree:
        """H t for each example, with `tangent` like the outputs."""

    @abstractmethod
    def hessian_root(self, outputs: PyTree, targets: PyTree) -> PyTree:
        """A matrix S with S S^T = H for each example, column by column: leaves
        `[columns, examples, ...]`."""

    @abstractmethod
    def sampled_gradient(self, outputs: PyTree, *, key: PRNGKeyArray) -> PyTree:
        """The gradient in the outputs, for targets drawn from the distribution of which the loss is
        the negative log-likelihood: its mean is 0, its covariance the Fisher matrix H.

        **Raises:** `ValueError` if the loss belongs to no distribution that can be drawn from.
        """


def loss_gradient(loss: AbstractLoss, outputs: PyTree, targets: PyTree) -> PyTree:
    """The gradient of each example's loss in its outputs, like the outputs."""
    return jax.grad(lambda z: total_loss(loss, z, targets))(outputs)


def total_loss(
    loss: AbstractLoss,
    outputs: PyTree,
    targets: PyTree,
    weights: Float[Array, " examples"] | None = None,
    *,
    ragged: bool = False,
) -> Float[Array, ""]:
    """The sum of weight times loss over the examples; `None` is a weight of one for each.

    `ragged` says that the weights differ.

    **Raises:** `ValueError` if the loss returns anything but floating-point numbers, one for each
    example or, unless `ragged`, one for all.
    """
    losses = loss.losses(outputs, targets)
    examples = jax.tree.leaves(outputs)[0].shape[0]
    is_array = isinstance(losses, jax.Array) and jnp.issubdtype(losses.dtype, jnp.floating)
    if not is_array or losses.shape not in [(), (examples,)]:
        got = (
            f"an array of {losses.dtype} {losses.shape}"
            if isinstance(losses, jax.Array)
            else f"a {type(losses).__name__}"
        )
        raise ValueError(
            f"`loss` returned {got} for {examples} examples, but must return one floating-point "
            f"number for each, of shape {(examples,)}, or their mean: leave out auxiliary outputs, "
            "and sum over everything but the examples."
        )
    if losses.shape == ():
        if ragged:
            raise ValueError(
                "`loss` returned one number for a whole batch, but the last batch is padded and "
                "its rows must be weighted: return one loss for each example, or choose a "
                "`batch_size` that divides the number of examples."
            )
        return losses * (examples if weights is None else jnp.sum(weights))
    return jnp.sum(losses if weights is None else weights * losses)
