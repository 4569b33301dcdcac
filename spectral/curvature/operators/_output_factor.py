"""Which matrix stands between a network's Jacobian and its transpose."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import check_count
from ..risk._loss import AbstractLoss, loss_gradient


class AbstractOutputFactor(eqx.Module):
    """A matrix S_n for each example, in the space of a network's outputs.

    With J_n the Jacobian of the outputs of example n in the parameters, the Gauss-Newton and Fisher
    matrices are the mean over examples of J_n^T S_n S_n^T J_n, and their Gram and
    Kronecker-factored forms are made of the same J_n^T S_n: this is the one thing in which the
    exact, the sampled and the empirical matrix differ.
    """

    @abstractmethod
    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> PyTree:
        """S_n column by column: leaves `[columns, examples, ...]`. `rows` are the numbers of the
        examples in the whole data set, and nothing but these and the example itself may matter."""

    @abstractmethod
    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        """The map t -> S_n S_n^T t on vectors like the outputs, with everything that does not
        depend on t computed once."""


class Exact(AbstractOutputFactor):
    """S_n S_n^T is the Hessian of the loss in the outputs.

    This gives the generalised Gauss-Newton matrix. Where the loss is a negative log-likelihood
    (squared error, softmax and sigmoid cross-entropy) it is also the Fisher information matrix,
    whose expectation over targets is then taken in closed form ("type-2" in the literature on
    KFAC). Targets do not matter to it for these losses. It has as many columns as the network has
    outputs.
    """

    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> PyTree:
        return loss.hessian_root(outputs, targets)

    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        return lambda tangent: loss.hessian_product(outputs, targets, tangent)


class Sampled(AbstractOutputFactor):
    """The columns are gradients at targets drawn from the network's own predictions.

    S_n S_n^T is the mean of g g^T over `num_samples` draws for each example ("type-1"): an unbiased
    estimate of the Fisher information matrix, cheaper than `Exact` for networks with many outputs.
    The draws are fixed by `key` and the number of the example, so that an operator is one matrix
    however often it is applied and however the data are cut into chunks.

    **Raises:** `ValueError` for fewer than one sample, and, when it is used, for a loss that
    belongs to no distribution that can be drawn from.
    """

    key: PRNGKeyArray
    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_count("num_samples", self.num_samples)

    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> PyTree:
        def draw(sample: Int[Array, ""], row: Int[Array, ""], output: PyTree) -> PyTree:
            key = jax.random.fold_in(jax.random.fold_in(self.key, row), sample)
            gradient = loss.sampled_gradient(jax.tree.map(lambda x: x[None], output), key=key)
            return jax.tree.map(lambda g: g[0] / self.num_samples**0.5, gradient)

        of_all = jax.vmap(jax.vmap(draw, in_axes=(None, 0, 0)), in_axes=(0, None, None))
        return of_all(jnp.arange(self.num_samples), rows, outputs)

    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        return _outer(self.columns(loss, outputs, targets, rows))


class Empirical(AbstractOutputFactor):
    """The one column is the gradient at the target itself.

    This gives the empirical Fisher matrix, the mean of g_n g_n^T over the gradients g_n of each
    example's loss in the parameters. It is the second moment of the gradient noise and not an
    estimate of the Fisher information matrix: it differs from it wherever the network does not
    predict the distribution of the targets (Kunstner, Balles and Hennig 2019).
    """

    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> PyTree:
        return jax.tree.map(lambda g: g[None], loss_gradient(loss, outputs, targets))

    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, rows: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        return _outer(self.columns(loss, outputs, targets, rows))


def times_columns(columns: PyTree, coefficients: Float[Array, "examples columns"]) -> PyTree:
    """S c for each example: like the outputs."""

    def times(leaf: Array) -> Array:
        flat = leaf.reshape(*leaf.shape[:2], -1)
        product = jnp.einsum("kno,nk->no", flat, coefficients.astype(leaf.dtype))
        return product.reshape(leaf.shape[1:])

    return jax.tree.map(times, columns)


def times_transposed_columns(columns: PyTree, tangent: PyTree) -> Float[Array, "examples columns"]:
    """S^T t for each example, with `tangent` like the outputs."""

    def times(leaf: Array, t: Array) -> Float[Array, "examples columns"]:
        flat = leaf.reshape(*leaf.shape[:2], -1)
        return jnp.einsum("kno,no->nk", flat, t.reshape(t.shape[0], -1))

    return jax.tree.reduce(jnp.add, jax.tree.map(times, columns, tangent))


def _outer(columns: PyTree) -> Callable[[PyTree], PyTree]:
    return lambda tangent: times_columns(columns, times_transposed_columns(columns, tangent))
