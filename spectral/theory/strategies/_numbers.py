"""Strategies for numbers, inputs and labels."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


STEP = 0.25  # weights, inputs and margins are multiples of this step,
MAX_STEPS = 8  # at most this many times the step


def numbers(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """Draws arrays of multiples of 1/4 from -2 to 2."""
    steps = st.integers(-MAX_STEPS, MAX_STEPS)
    # Without a fill every entry is drawn separately, so few are equal.
    integers = hnp.arrays(np.int64, shape, elements=steps, fill=st.nothing())
    return integers.map(lambda a: a * STEP)


def inputs(
    *, num_examples: int = 5, in_size: int = 2
) -> st.SearchStrategy[Float[Array, "examples size"]]:
    """Draws inputs in the box from -2 to 2."""
    return numbers(num_examples, in_size).map(as_array)


def targets(
    *, num_examples: int = 5, out_size: int = 2
) -> st.SearchStrategy[Float[Array, "n out_size"]]:
    """Draws real targets from -2 to 2."""
    return numbers(num_examples, out_size).map(as_array)


def labels(
    *, num_examples: int = 5, num_classes: int = 2
) -> st.SearchStrategy[Int[Array, " examples"]]:
    """Draws class labels."""
    elements = st.integers(0, num_classes - 1)
    drawn = hnp.arrays(np.int64, num_examples, elements=elements, fill=st.nothing())
    return drawn.map(jnp.asarray)


def probabilities(*, num_units: int = 6) -> st.SearchStrategy[Float[np.ndarray, " units"]]:
    """Draws multiples of 1/16 from 0 to 1."""
    drawn = hnp.arrays(np.int64, num_units, elements=st.integers(0, 16), fill=st.nothing())
    return drawn.map(lambda a: a / 16)


def as_array(values: np.ndarray) -> Array:
    return jnp.asarray(values, dtype=float)
