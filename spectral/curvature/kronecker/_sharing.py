"""The Kronecker factors of a layer whose weights act at several positions."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp

from ._capture import Recorded


class AbstractSharing(eqx.Module):
    """How the positions of an example enter the Kronecker factors of a layer.

    The gradient of one example in a shared weight matrix is a sum of outer products over positions.
    Its second moment is a sum over pairs of positions, which in general is not a Kronecker product
    of two factors. The positions of a layer are those of a convolution's output, over all calls of
    the layer. With a single position the two rules agree.
    """

    @abstractmethod
    def shared(self, recorded: Recorded) -> Recorded:
        """The vectors whose second moments over examples and positions are the factors."""


class Expand(AbstractSharing):
    """Treat positions as separate examples, so pairs of different positions contribute nothing.

    Exact for a deep linear network whose loss is a sum over positions (Eschenhagen et al. 2023).
    """

    def shared(self, recorded: Recorded) -> Recorded:
        return recorded


EXPAND = Expand()  # the default of KFAC and EKFAC


class Reduce(AbstractSharing):
    """Take the mean of the inputs and the sum of the gradients over positions.

    Exact for a deep linear network that takes the mean over positions (Eschenhagen et al. 2023).
    """

    def shared(self, recorded: Recorded) -> Recorded:
        inputs = jnp.mean(recorded.inputs, axis=1, keepdims=True)
        return Recorded(inputs, jnp.sum(recorded.gradients, axis=2, keepdims=True))
