"""The feed-forward layers of a transformer."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from .._call_key import call_with_key
from .._initialised import dense
from .._initialisers import AbstractInitialiser
from ..activations._activation import AbstractActivation
from ..activations._gated import Gated
from ._rows import for_rows


class FeedForward(eqx.Module):
    """down(activation(up x)), or down(activation(gate x) * up x) with a `Gated` activation, for
    each token."""

    up: eqx.nn.Linear
    gate: eqx.nn.Linear | None
    activation: AbstractActivation
    down: eqx.nn.Linear

    def __init__(
        self,
        width: int,
        num_units: int,
        *,
        activation: AbstractActivation | Gated,
        use_bias: bool,
        initialiser: AbstractInitialiser,
        output_initialiser: AbstractInitialiser,
        key: PRNGKeyArray,
    ):
        up_key, gate_key, down_key, activation_key = jax.random.split(key, 4)
        into = lambda key: dense(
            width, num_units, use_bias=use_bias, initialiser=initialiser, key=key
        )
        gated = isinstance(activation, Gated)
        prototype = activation.activation if isinstance(activation, Gated) else activation
        self.up, self.gate = into(up_key), into(gate_key) if gated else None
        self.activation = prototype.fresh(num_units, key=activation_key)
        self.down = dense(
            prototype.copies * num_units,
            width,
            use_bias=use_bias,
            initialiser=output_initialiser,
            key=down_key,
        )

    def __call__(
        self, x: Float[Array, "tokens width"], *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "tokens width"], Float[Array, "activations tokens"]]:
        """Returns the outputs, and the activations of the hidden units. `key` is that of the
        activation."""
        up = for_rows(self.up, x)
        if self.gate is None:
            hidden = call_with_key(self.activation, up, key=key)
        else:
            hidden = call_with_key(self.activation, for_rows(self.gate, x), key=key) * up
        return for_rows(self.down, hidden), hidden.T
