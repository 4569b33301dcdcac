"""The Kronecker factors of a layer whose weights act at several positions."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp

from .capture._records import AbstractRecord, Recorded


class AbstractSharing(eqx.Module):
    """How the positions of an example enter the Kronecker factors of a layer.

    The gradient of one example in a shared weight matrix is a sum of outer products over positions.
    Its second moment is a sum over pairs of positions, which in general is not a Kronecker product
    of two factors. The positions of a layer are those of a convolution's output and of the
    `jax.vmap`s around a call, such as one over tokens, over all calls of the layer. With a single
    position the two rules agree.
    """

    @abstractmethod
    def shared(self, recorded: AbstractRecord) -> AbstractRecord:
        """The vectors whose second moments over examples and positions are the factors."""


class Expand(AbstractSharing):
    """Treat positions as separate examples, so pairs of different positions contribute nothing.

    Exact for a deep linear network whose loss is a sum over positions (Eschenhagen et al. 2023).
    """

    def shared(self, recorded: AbstractRecord) -> AbstractRecord:
        return recorded


EXPAND = Expand()  # the default of KFAC and EKFAC


class Reduce(AbstractSharing):
    """Take the mean of the inputs and the sum of the gradients over positions.

    Exact for a deep linear network that takes the mean over positions (Eschenhagen et al. 2023).
    The inputs of an embedding are then the fractions of the tokens of each example, whose second
    moment is not diagonal: a dense matrix `[tokens, tokens]`.
    """

    def shared(self, recorded: AbstractRecord) -> AbstractRecord:
        dense = recorded.dense
        inputs = jnp.mean(dense.inputs, axis=1, keepdims=True)
        gradients = jnp.sum(dense.gradients, axis=2, keepdims=True)
        return Recorded(inputs, gradients, dense.transposed)
