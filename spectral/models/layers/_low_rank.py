"""Initial weights of low rank, and weights that are moved towards rank one."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int, check_count, check_fraction
from ..._base._scaling import norm
from ._initialisers import AbstractInitialiser, KaimingUniform


_KAIMING_UNIFORM = KaimingUniform()


class LowRank(AbstractInitialiser):
    """The weights of another initialiser, truncated to rank `rank` and rescaled to their norm.

    The `rank` largest singular values and their vectors are kept, and multiplied by one number so
    that the Frobenius norm is that of the weights before. A layer with fewer rows or columns than
    `rank` keeps its weights up to rounding. A convolution is a matrix with one row per output.
    Biases are those of the other initialiser.

    This changes the rank of a layer, and neither its size nor its shape, so a network that starts
    here differs from a usual one in its rank alone. (The construction is ours: He et al. do not say
    how they make kernels of low rank.)

    ```python
    weight, bias = LowRank(rank=2)(jax.random.key(0), (8, 6))
    jnp.linalg.matrix_rank(weight)  # 2
    ```

    **Raises:** `ValueError` if `rank` is below 1.
    """

    _: KW_ONLY
    rank: int = eqx.field(static=True, default=10, converter=as_int)
    initialiser: AbstractInitialiser = _KAIMING_UNIFORM

    def __check_init__(self):
        check_count("rank", self.rank)

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        weight, bias = self.initialiser(key, shape)
        u, s, v = jnp.linalg.svd(weight.reshape(shape[0], -1), full_matrices=False)
        kept = s[: self.rank]
        length = norm(kept)
        lengthened = kept * (norm(s) / jnp.where(length > 0, length, 1))
        truncated = (u[:, : self.rank] * lengthened[None]) @ v[: self.rank]
        return truncated.reshape(shape), bias


class RankOneMixture(AbstractInitialiser):
    """sqrt(1 - a) W + sqrt(a) R: the weights W of another initialiser, mixed with a matrix R of
    rank one.

    R is ||W|| u v^T with random unit vectors u and v, independent of W. So the squared Frobenius
    norm is that of W on average, for every `fraction` a, and a is the fraction of it in one
    direction. a = 0 gives W, a = 1 a layer of rank one. A convolution is a matrix with one row per
    output. Biases are those of the other initialiser. (R is ours: He et al. do not say which matrix
    of rank one they take.)

    ```python
    weight, bias = RankOneMixture(fraction=0.9)(jax.random.key(0), (8, 6))
    ```

    **Raises:** `ValueError` if `fraction` is outside [0, 1].
    """

    _: KW_ONLY
    fraction: float = eqx.field(static=True, default=0.5)
    initialiser: AbstractInitialiser = _KAIMING_UNIFORM

    def __check_init__(self):
        check_fraction("fraction", self.fraction)

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        own_key, row_key, column_key = jax.random.split(key, 3)
        weight, bias = self.initialiser(own_key, shape)
        rows = weight.reshape(shape[0], -1)
        left = jax.random.normal(row_key, rows.shape[:1])
        right = jax.random.normal(column_key, rows.shape[1:])
        one = norm(rows) * jnp.outer(left / norm(left), right / norm(right))
        mixed = (1 - self.fraction) ** 0.5 * rows + self.fraction**0.5 * one
        return mixed.reshape(shape), bias
