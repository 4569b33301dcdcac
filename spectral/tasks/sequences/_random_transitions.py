"""Random transition matrices of a given entropy rate."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


_BISECTIONS = 80


def random_transitions(
    num_symbols: int, entropy_rate: Float[Array, ""], *, key: PRNGKeyArray
) -> Float[Array, "symbols symbols"]:
    """Draws a transition matrix, whose row i holds the probabilities of what follows symbol i.

    A row is the softmax of independent normal numbers over a temperature. The temperature of each
    row is found by bisection so that the entropy of the row is `entropy_rate`. So the entropy rate
    of the chain, the mean of these entropies under its stationary distribution, is the same number,
    also if the chain has several stationary distributions or starts from any other. The entropy of
    a row falls strictly as its temperature does, so there is one solution.

    **Arguments:**

    - `num_symbols`: rows of the matrix, at least 2.
    - `entropy_rate`: in nats, above 0 and below log `num_symbols`. It is reached to 1e-6 in double
      precision and to 1e-5 in single precision.
    """
    draws = jax.random.normal(key, (num_symbols, num_symbols))
    # The largest is 0, so that no temperature overflows.
    draws = draws - jnp.max(draws, axis=1, keepdims=True)

    def rows(log_scale: Float[Array, " symbols"]) -> Float[Array, "symbols symbols"]:
        return jax.nn.softmax(jnp.exp(log_scale)[:, None] * draws, axis=1)

    def halve(
        step: Int[Array, ""], ends: tuple[Float[Array, " symbols"], Float[Array, " symbols"]]
    ) -> tuple[Float[Array, " symbols"], Float[Array, " symbols"]]:
        low, high = ends
        middle = (low + high) / 2
        # A larger scale is a lower temperature.
        above = row_entropies(rows(middle)) > entropy_rate
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    # From nearly uniform rows to nearly deterministic ones.
    ends = jnp.full(num_symbols, -20.0), jnp.full(num_symbols, 40.0)
    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, ends)
    return rows((low + high) / 2)


def row_entropies(matrix: Float[Array, "symbols symbols"]) -> Float[Array, " symbols"]:
    """The entropy of each row in nats."""
    return jnp.sum(jax.scipy.special.entr(matrix), axis=1)
