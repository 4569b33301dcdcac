"""A network with LayerNorm and dropout. It derives from no class of spectral."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray


class Dropped(eqx.Module):
    """One hidden layer. The stream supplies `in_size` and `out_size`, the experiment the key."""

    inner: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    dropout: eqx.nn.Dropout
    outer: eqx.nn.Linear

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int = 16,
        dropout: float = 0.2,
        key: PRNGKeyArray,
    ):
        inner_key, outer_key = jax.random.split(key)
        self.inner = eqx.nn.Linear(in_size, width, key=inner_key)
        self.norm = eqx.nn.LayerNorm(width)
        self.dropout = eqx.nn.Dropout(dropout)
        self.outer = eqx.nn.Linear(width, out_size, key=outer_key)

    def __call__(
        self, x: Float[Array, " in_size"], *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " out_size"], dict[str, Array]]:
        hidden = jax.nn.relu(self.norm(self.inner(x)))
        return self.outer(self.dropout(hidden, key=key)), {"hidden": hidden}
