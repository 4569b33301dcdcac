"""The matrix between a network's Jacobian and its transpose."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import as_int, check_count
from ..risk._loss import AbstractLoss, loss_gradient


class AbstractOutputFactor(eqx.Module):
    """A matrix S_n for each example, in the space of a network's outputs.

    Let J_n be the Jacobian of the outputs of example n in the parameters. The Gauss-Newton and
    Fisher matrices are the mean over examples of J_n^T S_n S_n^T J_n, and their Gram and
    Kronecker-factored forms use the same J_n^T S_n. The exact, sampled and empirical matrices
    differ only in S_n.
    """

    @abstractmethod
    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> PyTree:
        """The columns of S_n: leaves `[columns, examples, ...]`.

        `indices` are those of the examples in the whole data set. S_n may depend only on its own
        index and example.
        """

    @abstractmethod
    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        """The map t -> S_n S_n^T t on vectors like the outputs, with everything that does not
        depend on t computed once."""


class Exact(AbstractOutputFactor):
    """S_n S_n^T is the Hessian of the loss in the outputs.

    This gives the generalised Gauss-Newton matrix. If the loss is a negative log-likelihood
    (squared error, softmax and sigmoid cross-entropy), it is also the Fisher information matrix,
    with the expectation over targets in closed form ("type-2" in the literature on KFAC). For these
    losses it does not depend on the targets. It has one column for each output of the network.
    """

    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> PyTree:
        return loss.hessian_root(outputs, targets)

    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        return lambda tangent: loss.hessian_product(outputs, targets, tangent)


EXACT = Exact()  # the default of everything that takes a factor


class Sampled(AbstractOutputFactor):
    """The columns are gradients at targets drawn from the network's own predictions.

    S_n S_n^T is the mean of g g^T over `num_samples` draws for each example ("type-1"). It is an
    unbiased estimate of the Fisher information matrix, cheaper than `Exact` for networks with many
    outputs. The draws depend only on `key` and on the index of the example, so every product uses
    the same matrix, for any batch size.

    **Raises:** `ValueError` if `num_samples` is not a positive integer and, when the factor is
    used, if the loss cannot be sampled from.
    """

    key: PRNGKeyArray
    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=1, converter=as_int)

    def __check_init__(self):
        check_count("num_samples", self.num_samples)

    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> PyTree:
        def draw(
            sample: Int[Array, ""], index: Int[Array, ""], output: PyTree, target: PyTree
        ) -> PyTree:
            key = jax.random.fold_in(jax.random.fold_in(self.key, index), sample)
            one = jax.tree.map(lambda x: x[None], (output, target))
            gradient = loss.sampled_gradient(*one, key=key)
            return jax.tree.map(lambda g: g[0] / self.num_samples**0.5, gradient)

        of_examples = jax.vmap(draw, in_axes=(None, 0, 0, 0))
        of_all = jax.vmap(of_examples, in_axes=(0, None, None, None))
        return of_all(jnp.arange(self.num_samples), indices, outputs, targets)

    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        return _outer(self.columns(loss, outputs, targets, indices))


class Empirical(AbstractOutputFactor):
    """The single column is the gradient at the target itself.

    This gives the empirical Fisher matrix, the mean of g_n g_n^T over the gradients g_n of each
    example's loss in the parameters. It is the second moment of the gradient noise. It is not an
    estimate of the Fisher information matrix: the two differ unless the network predicts the
    distribution of the targets (Kunstner, Balles and Hennig 2019).
    """

    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> PyTree:
        return jax.tree.map(lambda g: g[None], loss_gradient(loss, outputs, targets))

    def product(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> Callable[[PyTree], PyTree]:
        return _outer(self.columns(loss, outputs, targets, indices))


def times_columns(columns: PyTree, coefficients: Float[Array, "examples columns"]) -> PyTree:
    """S c for each example, like the outputs."""

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
