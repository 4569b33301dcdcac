"""What curvature needs to know about a loss, as a function of a network's outputs."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._base._precision import in_single


class AbstractLoss(eqx.Module):
    """The loss of each example, and its curvature in the network's outputs.

    Outputs and targets are pytrees of arrays `[examples, ...]`. The loss of an example depends on
    the outputs of this example only. H denotes the Hessian of the loss of one example in its
    outputs, a positive semi-definite matrix. All results are in float32 or wider, for outputs of
    any precision.
    """

    @abstractmethod
    def losses(self, outputs: PyTree, targets: PyTree) -> Float[Array, "*examples"]:
        """The loss of each example, or a single number if only the mean over the batch is
        known."""

    @abstractmethod
    def hessian_product(self, outputs: PyTree, targets: PyTree, tangent: PyTree) -> PyTree:
        """H t for each example, with `tangent` like the outputs."""

    @abstractmethod
    def hessian_root(self, outputs: PyTree, targets: PyTree) -> PyTree:
        """The columns of a matrix S with S S^T = H for each example: leaves
        `[columns, examples, ...]`."""

    @abstractmethod
    def sampled_gradient(self, outputs: PyTree, targets: PyTree, *, key: PRNGKeyArray) -> PyTree:
        """The gradient in the outputs, for targets drawn from the distribution whose negative
        log-likelihood the loss is. Its mean is 0 and its covariance is the Fisher matrix H.
        `targets` only say which outputs count.

        **Raises:** `ValueError` if the loss is not the negative log-likelihood of a distribution
        that can be sampled.
        """

    def counts(self, targets: PyTree) -> Int[Array, " examples"] | Float[Array, " examples"] | None:
        """How many labels of each example count in the mean of a `Risk`, which is the sum of all
        losses over the number of these labels; if labels have weights, the sum of these. By
        default `None`: one for each example."""
        return None

    def check_targets(self, outputs: PyTree, targets: PyTree) -> None:
        """Checks targets whose values are known. Of the outputs, `[examples, ...]`, it needs the
        shapes alone. By default it accepts all.

        **Raises:** `ValueError` if the targets do not fit.
        """


def loss_gradient(loss: AbstractLoss, outputs: PyTree, targets: PyTree) -> PyTree:
    """The gradient of each example's loss in its outputs, like the outputs."""
    return jax.grad(lambda z: total_loss(loss, z, targets))(in_single(outputs))


def total_loss(
    loss: AbstractLoss,
    outputs: PyTree,
    targets: PyTree,
    weights: Float[Array, " examples"] | None = None,
    *,
    padded: bool = False,
) -> Float[Array, ""]:
    """The sum of weight times loss over the examples; `None` stands for weights of one.

    `padded` says that some examples may be padding of weight 0.

    **Raises:** `ValueError` unless the loss returns floating-point numbers: one for each example
    or, unless `padded`, their mean.
    """
    losses = loss.losses(outputs, targets)
    num_examples = jax.tree.leaves(outputs)[0].shape[0]
    is_array = isinstance(losses, jax.Array) and jnp.issubdtype(losses.dtype, jnp.floating)
    if not is_array or losses.shape not in [(), (num_examples,)]:
        got = (
            f"an array of {losses.dtype} {losses.shape}"
            if isinstance(losses, jax.Array)
            else f"a {type(losses).__name__}"
        )
        raise ValueError(
            f"`loss` returned {got} for {num_examples} examples, but must return one "
            f"floating-point number for each, of shape {(num_examples,)}, or their mean: sum over "
            "all axes except that of the examples, and leave out auxiliary outputs."
        )
    if losses.shape == ():
        if padded:
            raise ValueError(
                "`loss` returned one number for a whole batch, but the last batch is padded, so "
                "its examples need separate weights: return one loss for each example, or choose a "
                "`batch_size` that divides the number of examples (on a mesh, those of each "
                "device, and devices that divide all)."
            )
        return losses * (num_examples if weights is None else jnp.sum(weights))
    return jnp.sum(losses if weights is None else weights * losses)
