"""Soft weight rescaling: the norms of weights are drawn to their initial values."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._base._scaling import norm
from ...._types import Learner, Signal
from ....models import connected
from ..._base._arguments import as_fraction, Number
from ..._base._protocols import AbstractTransform
from ._layers import Chain, chains_of, layers_of


_Norms = tuple[Float[Array, ""], ...]


class SoftWeightRescaling(AbstractTransform[_Norms]):
    """Every step brings the norm of each weight matrix nearer to its initial norm n (Oh et al.,
    *Recovering Plasticity of Neural Networks via Soft Weight Rescaling*, 2025, Algorithm 1).

    After the optimiser's step, layer by layer, starting from C = 1:

        c = (amount n + (1 - amount) ||W||_F) / ||W||_F
        C <- c C,   or C <- c before the last norm layer
        W <- c W,   b <- C b

    So the distance ||W|| - n shrinks by 1 - `amount`, and a network of ReLUs without norms is
    multiplied by the product of all c: what it predicts does not change. The scale and the shift of
    a norm count as a layer. A matrix that is smaller than at first grows. A matrix of zeros does
    not change.

    `amount` is the lambda of the paper, which tries 1, 0.1, ..., 1e-4; its best is 1e-4 for an MLP
    on MNIST and 1e-3 for a convolutional network on CIFAR. With batch norm it takes two, a larger
    one for the classifier; here it is one for all layers. Actor and critic start from C = 1 each.

    ```python
    Algorithm(sgd(0.03), transforms=(SoftWeightRescaling(amount=1e-3),))
    ```
    """

    amount: Float[Array, ""]

    def __init__(self, *, amount: Number = 1e-4):
        """**Raises:** `ValueError` for an amount outside [0, 1]."""
        self.amount = as_fraction("amount", amount)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _Norms:
        """Returns the norms of all layers.

        **Raises:** `TypeError` for a model without `units()`.
        """
        weights = jax.tree.leaves(eqx.filter(connected(learner.model), eqx.is_inexact_array))
        return tuple(norm(weights[layer.weight]) for layer in layers_of(learner.model))

    def update(
        self, learner: Learner, state: _Norms, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _Norms]:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(params)
        factors = iter(self._factors(learner, state, key=key))
        for chain in chains_of(learner.model):
            product, last_norm = jnp.ones(()), _last_norm(chain)
            for i, layer in enumerate(chain):
                factor = next(factors)
                product = factor * product if i >= last_norm else factor
                for place, by in ((layer.weight, factor), (layer.bias, product)):
                    if place is not None:
                        leaves[place] = leaves[place] * by.astype(leaves[place].dtype)
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return replace(learner, model=model), state

    def after_reset(
        self, learner: Learner, state: _Norms, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> _Norms:
        """Returns the norms of the new layers. A new layer of zeros, whose norm would draw it to
        zero, grows to its old norm."""
        marks, layers = jax.tree.leaves(reset), layers_of(learner.model)
        new = zip(layers, self.init(learner, key=key), state, strict=True)
        return tuple(
            jnp.where((now > 0) & marks[layer.weight], now, old) for layer, now, old in new
        )

    def _factors(
        self, learner: Learner, state: _Norms, *, key: PRNGKeyArray
    ) -> list[Float[Array, ""]]:
        """c of every layer."""
        pairs = zip(state, self.init(learner, key=key), strict=True)
        return [
            jnp.where(now > 0, 1 + self.amount * (first / jnp.where(now > 0, now, 1) - 1), 1)
            for first, now in pairs
        ]


def _last_norm(chain: Chain) -> int:
    return max((i for i, layer in enumerate(chain) if layer.is_norm), default=0)
