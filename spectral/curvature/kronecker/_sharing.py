"""What Kronecker factors make of a layer whose weights act at several positions."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp

from ._capture import Seen


class AbstractSharing(eqx.Module):
    """How the positions of an example enter the Kronecker factors of a layer.

    The gradient of one example in a shared matrix of weights is a sum over positions of outer
    products, and its second moment a sum over pairs of positions, which no product of two factors
    equals in general. The positions of a layer are those of a convolution's output, over all calls
    of the layer. With a single position the two rules are the same.
    """

    @abstractmethod
    def shared(self, seen: Seen) -> Seen:
        """What the factors are averaged from, over examples and positions."""


class Expand(AbstractSharing):
    """Take positions for more examples: pairs of different positions count as nothing.

    Exact for a deep linear network whose loss is a sum over positions (Eschenhagen et al. 2023).
    """

    def shared(self, seen: Seen) -> Seen:
        return seen


class Reduce(AbstractSharing):
    """Take the mean of the inputs and the sum of the gradients over positions.

    Exact for a deep linear network that takes the mean over positions (Eschenhagen et al. 2023).
    """

    def shared(self, seen: Seen) -> Seen:
        inputs = jnp.mean(seen.inputs, axis=1, keepdims=True)
        return Seen(inputs, jnp.sum(seen.gradients, axis=2, keepdims=True))
