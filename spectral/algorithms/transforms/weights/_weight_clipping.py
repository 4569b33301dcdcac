"""Weight clipping: no weight leaves the range of its initialisation."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...._types import Learner, Signal
from ..._base._arguments import as_positive, Number
from ..._base._protocols import AbstractTransform
from ._layers import layers_of


class WeightClipping(AbstractTransform[None]):
    """w <- clip(w, -factor s, factor s) after every step (Elsayed et al., *Weight Clipping for Deep
    Continual and Reinforcement Learning*, 2024).

    s = 1 / sqrt(inputs of a unit) is the bound of the uniform distribution from which PyTorch draws
    the weights and biases of dense layers and convolutions. As in the authors' code, it is taken
    for every layer, whatever its initialiser: Kaiming uniform weights reach sqrt(6) s, and a
    `factor` below 2.45 clips them in the first step. `factor` is the kappa of the paper, which
    tries 1 to 5; PPO was run with 3. The optimiser keeps its moments.

    `head=False` leaves the output layers as they are. Scales and shifts of norms, learnt
    activations and standard deviations of policies are never clipped; the authors' code takes every
    vector for a bias, and the scales of norms fall to `factor` s there.

    ```python
    Algorithm(adam(1e-3), transforms=(WeightClipping(factor=3.0, head=False),))
    ```
    """

    factor: Float[Array, ""]
    head: bool = eqx.field(static=True)

    def __init__(self, *, factor: Number = 1.0, head: bool = True):
        """**Raises:** `ValueError` for a factor that is not positive."""
        self.factor = as_positive("factor", factor)
        self.head = head

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`."""
        layers_of(learner.model)

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(params)
        for layer in layers_of(learner.model):
            if layer.is_norm or (layer.is_output and not self.head):
                continue
            bound = self.factor / float(np.prod(leaves[layer.weight].shape[1:])) ** 0.5
            for i in (layer.weight, layer.bias):
                if i is not None:
                    limit = bound.astype(leaves[i].dtype)
                    leaves[i] = jnp.clip(leaves[i], -limit, limit)
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return replace(learner, model=model), state
