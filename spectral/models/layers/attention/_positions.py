"""How a transformer knows the positions of its tokens."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above
from .._initialisers import AbstractInitialiser


class AbstractPositions(eqx.Module):
    """Changes the tokens of a sequence according to their positions.

    A transformer makes its own with `fresh` from the object that it is given.
    """

    @abstractmethod
    def fresh(
        self,
        num_tokens: int,
        width: int,
        head_width: int,
        *,
        initialiser: AbstractInitialiser,
        key: PRNGKeyArray,
    ) -> "AbstractPositions":
        """Returns a copy with initial parameters, for sequences of up to `num_tokens` tokens.

        **Raises:** `ValueError` if these sizes do not fit.
        """

    def added(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """Returns the embedded tokens with their positions. By default they are unchanged."""
        return x

    def turned(
        self, x: Float[Array, "tokens heads head_width"]
    ) -> Float[Array, "tokens heads head_width"]:
        """Returns queries or keys with their positions. By default they are unchanged."""
        return x


class LearnedPositions(AbstractPositions):
    """A learnt vector for each position is added to the embedded token, as in GPT-2 and ViT.

    The initialiser of the network draws the vectors.
    """

    _: KW_ONLY
    weight: Float[Array, "positions width"] | None = None

    def fresh(
        self,
        num_tokens: int,
        width: int,
        head_width: int,
        *,
        initialiser: AbstractInitialiser,
        key: PRNGKeyArray,
    ) -> "LearnedPositions":
        return LearnedPositions(weight=initialiser(key, (num_tokens, width))[0])

    def added(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        return x if self.weight is None else x + self.weight[: x.shape[0]]


class RotaryPositions(AbstractPositions):
    """Rotates pairs of channels of queries and keys by angles proportional to the position (Su et
    al., *RoFormer*, 2021).

    Channel i < d / 2 of a head of width d is paired with channel i + d / 2, as in GPT-NeoX and
    LLaMA. The angle at position t is t base^(-2 i / d). The product of a query and a key depends
    on the difference of their positions only. There are no parameters. Angles are computed in
    float64.

    ```python
    RotaryPositions().turned(jnp.ones((3, 1, 4)))   # three tokens, one head of four channels
    ```

    **Raises:** `ValueError` if `base` is not above 1, or for an odd head width when a network is
    made.
    """

    _: KW_ONLY
    base: float = eqx.field(static=True, default=10_000.0)

    def __check_init__(self):
        check_above("base", self.base, 1)

    def fresh(
        self,
        num_tokens: int,
        width: int,
        head_width: int,
        *,
        initialiser: AbstractInitialiser,
        key: PRNGKeyArray,
    ) -> "RotaryPositions":
        if head_width % 2:
            raise ValueError(
                f"`width` is {width}, so each of the {width // head_width} heads has {head_width} "
                "channels, but `RotaryPositions` rotates pairs of channels: choose a `width` that "
                "is an even multiple of `num_heads`, or `LearnedPositions()`."
            )
        return self

    def turned(
        self, x: Float[Array, "tokens heads head_width"]
    ) -> Float[Array, "tokens heads head_width"]:
        half = x.shape[2] // 2
        angles = np.arange(x.shape[0])[:, None] * self.base ** (-np.arange(half) / half)
        cos, sin = (jnp.asarray(f(angles)[:, None], x.dtype) for f in (np.cos, np.sin))
        first, second = x[..., :half], x[..., half:]
        rotated = [first * cos - second * sin, second * cos + first * sin]
        return jnp.concatenate(rotated, axis=-1)
