"""Initialisers whose scale does not depend on the size of the layer, as transformers use them."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above
from ._initialisers import AbstractInitialiser, AbstractRowInitialiser


class FixedNormal(AbstractRowInitialiser):
    """Normal weights of standard deviation `std`, zero biases.

    **Raises:** `ValueError` if `std` is not positive.
    """

    _: KW_ONLY
    std: float = eqx.field(static=True, default=0.02)

    def __check_init__(self):
        check_above("std", self.std, 0)

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        return self.std * jax.random.normal(key, shape), jnp.zeros(shape[0])


class GPT2Normal(AbstractRowInitialiser):
    """The initialisation of GPT-2 (Radford et al., 2019, section 2.3): normal weights of standard
    deviation 0.02, and 0.02 / sqrt(2 num_blocks) in the matrices whose outputs are added to the
    residual stream. Biases are zero.

    The positions have the standard deviation of the tokens, as in nanoGPT.
    """

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        return FixedNormal()(key, shape)

    def residual(self, num_blocks: int) -> AbstractInitialiser:
        """The initialiser of the matrices whose outputs are added to the residual stream."""
        return FixedNormal(std=0.02 / (2 * num_blocks) ** 0.5)


class TruncatedNormal(AbstractRowInitialiser):
    """Normal weights of standard deviation `std`, truncated at two standard deviations, and zero
    biases, as in ViT and DeiT. The truncated weights have a standard deviation of 0.880 `std`.

    **Raises:** `ValueError` if `std` is not positive.
    """

    _: KW_ONLY
    std: float = eqx.field(static=True, default=0.02)

    def __check_init__(self):
        check_above("std", self.std, 0)

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        return self.std * jax.random.truncated_normal(key, -2, 2, shape), jnp.zeros(shape[0])
