"""Activation by interval-wise dropout."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_fraction
from ._activation import AbstractActivation


class AID(AbstractActivation):
    """In training max(x, 0) with probability p and min(x, 0) otherwise, for each unit and position
    by itself. In inference the mean of that: p x above zero, (1 - p) x below.

    Park et al., *Activation by Interval-wise Dropout* (2025), in its simplified form, which is the
    one that they use. p is the probability to *keep* the positive side, and nothing is divided by
    it. p = 1 is ReLU. For a symmetric x the mean square in training is half of that of x for every
    p, as with ReLU, so initialisers for ReLU fit. From a replication of the publication: p = 0.99
    for Permuted MNIST (the default) and 0.99 to 0.999 in reinforcement learning, 0.9 for MNIST with
    random labels and for CIFAR-10, 0.7 for CIFAR-100 and TinyImageNet.

    Activations that are read in training, as by ReDo, are those of one draw. A unit passes negative
    numbers too, so `DeadUnits` finds only units whose pre-activation is exactly 0.

    ```python
    eqx.nn.inference_mode(AID(p=0.75))(jnp.array([-1.0, 1.0]))   # [-0.25, 0.75]
    ```

    **Raises:** `ValueError` for a p outside [0, 1], or if it is called in training without a key.
    """

    p: float = eqx.field(static=True)
    inference: bool
    copies: ClassVar[int] = 1

    def __init__(self, *, p: float = 0.99, inference: bool = False):
        check_fraction("p", p)
        self.p = float(p)
        self.inference = inference

    def __call__(
        self, x: Float[Array, "... units"], /, *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "... activations"]:
        if self.inference:
            return jnp.where(x >= 0, self.p * x, (1 - self.p) * x)
        if key is None:
            raise ValueError(
                "`key` is None, but `AID` draws for every unit in training: pass a key to the "
                "network, or set `eqx.nn.inference_mode(network)`."
            )
        upper = jax.random.bernoulli(key, self.p, x.shape)
        return jnp.where(upper, jnp.maximum(x, 0), jnp.minimum(x, 0))

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "AID":
        return self
