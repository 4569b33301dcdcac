"""The examples of one pass."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree


class ExampleBatch(eqx.Module):
    """The examples of one pass."""

    inputs: PyTree[Array]  # [examples, ...]
    targets: PyTree[Array]  # [examples, ...]
    indices: Int[Array, " examples"]  # in the whole data set; beyond its end for padding
    weights: Float[Array, " examples"]  # of the losses in the mean; 0 for padding
    fractions: Float[Array, " examples"]  # of all labels that count; they sum to 1 over all batches
    padded: bool = eqx.field(static=True)  # some examples may be padding

    def example(self, place: Int[Array, ""]) -> "ExampleBatch":
        """The example at this place of the batch, as a batch of its own."""
        return jax.tree.map(lambda x: jnp.take(x, place[None], axis=0, mode="clip"), self)
