"""Windows of texts, and the order in which they are visited."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, PRNGKeyArray, UInt32


class TextWindows(eqx.Module):
    """The windows of one part (training or held-out) of several texts.

    A window has `context + 1` tokens. The windows of a text follow one another; the last token of
    one is the first of the next, so that every token except the first is predicted exactly once.
    Tokens that do not fill a last window are left out.
    """

    tokens: Integer[Array, " tokens"]  # of all texts
    starts: Int[Array, " texts"]  # the first token of each text
    counts: Int[Array, " texts"]  # windows of each text
    context: int = eqx.field(static=True)
    fewest: int = eqx.field(static=True)  # windows of the text that has the fewest
    most: int = eqx.field(static=True)

    def __init__(
        self, parts: Sequence[Integer[np.ndarray, " tokens"]], context: int, dtype: np.dtype
    ):
        lengths = [len(part) for part in parts]
        counts = [(length - 1) // context for length in lengths]
        self.tokens = jnp.asarray(np.concatenate(parts).astype(dtype))
        self.starts = jnp.asarray(np.cumsum([0, *lengths[:-1]]), dtype=int)
        self.counts = jnp.asarray(counts, dtype=int)
        self.context = context
        self.fewest, self.most = min(counts), max(counts)

    def take(
        self, text: Int[Array, ""], windows: Int[Array, " examples"]
    ) -> Integer[Array, "examples length"]:
        """Returns the tokens of windows of a text."""
        within = self.context * windows[:, None] + jnp.arange(self.context + 1)[None]
        return jnp.take(self.tokens, self.starts[text] + within, mode="clip")

    def visits(
        self, text: Int[Array, ""], num_examples: int, *, key: PRNGKeyArray
    ) -> Int[Array, " examples"]:
        """Returns windows of a text in passes, each in a new random order, so that no window is
        repeated before all others were visited."""
        # As if each pass were shuffled: sorted by the pass first, and by a random number next. The
        # last pass is whole, so that each of its windows may be among those returned.
        indices = jnp.arange(num_examples + self.most)
        draws = jax.random.bits(key, indices.shape)
        order = jnp.lexsort((draws, indices // self.counts[text]))
        return order[:num_examples] % self.counts[text]

    def spaced(self, text: Int[Array, ""], num_examples: int) -> Int[Array, " examples"]:
        """Returns windows of a text at equal distances, at most `fewest`."""
        # The product of an index and the count may exceed 32 bits, so this is a long division.
        index = jnp.arange(num_examples, dtype=jnp.uint32)
        whole, rest = jnp.divmod(self.counts[text].astype(jnp.uint32), num_examples)

        def next_bit(
            step: Int[Array, ""], carried: tuple[UInt32[Array, " examples"], ...]
        ) -> tuple[UInt32[Array, " examples"], ...]:
            quotient, remainder = carried
            bit = (rest >> (31 - step).astype(jnp.uint32)) & 1
            remainder = 2 * remainder + bit * index
            return 2 * quotient + remainder // num_examples, remainder % num_examples

        nothing = jnp.zeros_like(index)
        quotient, _ = jax.lax.fori_loop(0, 32, next_bit, (nothing, nothing))
        return (index * whole + quotient).astype(int)
