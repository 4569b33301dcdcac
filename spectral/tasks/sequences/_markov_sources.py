"""Sequences of Markov chains whose transition probabilities change."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from ..._arguments import as_int, check_above, check_count
from .._base._splits import Split
from ._random_transitions import random_transitions
from ._sequence_batch import next_tokens, SequenceBatch
from ._sequence_loader import SequenceLoader
from ._sequence_stream import AbstractSequenceStream
from ._text import token_type


class MarkovTask(eqx.Module):
    """The state of a stream of Markov sources: what follows each symbol, with which probability."""

    transitions: Float[Array, "symbols symbols"]


class MarkovSources(AbstractSequenceStream[MarkovTask]):
    """Every task is another Markov chain of the same entropy rate.

    At a task boundary a transition matrix is drawn. Each row is the softmax of independent normal
    numbers over a temperature, which is found by bisection so that the entropy of the row is
    `entropy_rate`. The mean of the rows' entropies under the stationary distribution, the entropy
    rate of the chain, is then the same number, to 1e-6 in double and 1e-5 in single precision.

    The first symbol of a sequence is uniform. It is never predicted, and it does not change how
    well the next ones can be predicted, since all rows have one entropy. So `entropy_rate` is the
    smallest expected loss at every position, and `"test_excess"` is the test loss minus it. All
    sequences are drawn when they are used, so a sequence of the evaluation equals one that was
    trained on only by chance.

    ```python
    stream = tasks.MarkovSources(num_symbols=8, entropy_rate=0.5, context=16, num_tasks=3)
    stream.vocabulary_size  # 8
    ```
    """

    draws_tasks: ClassVar[bool] = True
    loader: SequenceLoader
    entropy_rate: Float[Array, ""]
    vocabulary_size: int = eqx.field(static=True, converter=as_int)
    context: int = eqx.field(static=True, converter=as_int)
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        *,
        num_symbols: int = 16,
        entropy_rate: float | Float[Array, ""] = 1.0,
        context: int = 32,
        num_tasks: int = 100,
        loader: SequenceLoader | None = None,
    ):
        """**Arguments:**

        - `num_symbols`: states of the chain, the vocabulary.
        - `entropy_rate`: nats for each symbol, above 0 (deterministic) and below log `num_symbols`
          (independent and uniform).
        - `context`: tokens that the network sees at once.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `SequenceLoader()`.

        **Raises:** `ValueError` for fewer than two symbols, for another number below one, or for an
        entropy rate out of range.
        """
        check_count("num_symbols", num_symbols, minimum=2)
        check_count("context", context)
        check_count("num_tasks", num_tasks)
        check_above("entropy_rate", entropy_rate, 0)
        largest = math.log(num_symbols)
        if not isinstance(entropy_rate, Tracer) and np.any(np.asarray(entropy_rate) >= largest):
            raise ValueError(
                f"`entropy_rate` is {entropy_rate}, but must be below log({num_symbols}) = "
                f"{largest:.4g} nats, the entropy of {num_symbols} equally probable symbols: lower "
                "it, or raise `num_symbols`."
            )
        self.loader = SequenceLoader() if loader is None else loader
        self.entropy_rate = jnp.asarray(entropy_rate, dtype=float)
        self.vocabulary_size = num_symbols
        self.context = context
        self.num_tasks = num_tasks

    def floor(self) -> Float[Array, ""]:
        return self.entropy_rate

    def task(self, index: Int[Array, ""], *, key: PRNGKeyArray) -> MarkovTask:
        return MarkovTask(random_transitions(self.vocabulary_size, self.entropy_rate, key=key))

    def draw(
        self, state: MarkovTask, num_examples: int, split: Split, *, key: PRNGKeyArray
    ) -> Integer[Array, "examples length"]:
        """Returns `num_examples` new sequences, for any split."""
        check_count("num_examples", num_examples)
        first_key, key = jax.random.split(key)
        first = jax.random.randint(first_key, (num_examples,), 0, self.vocabulary_size)
        bounds = jnp.cumsum(state.transitions, axis=1)
        bounds = bounds / bounds[:, -1:]  # exactly 1, above all uniform numbers

        def step(
            symbols: Int[Array, " examples"], uniform: Float[Array, " examples"]
        ) -> tuple[Int[Array, " examples"], Int[Array, " examples"]]:
            following = jnp.sum(bounds[symbols] <= uniform[:, None], axis=1)
            return following, following

        uniforms = jax.random.uniform(key, (self.context, num_examples))
        _, others = jax.lax.scan(step, first, uniforms)
        return jnp.concatenate([first[None], others]).T.astype(token_type(self.vocabulary_size))

    def present(self, state: MarkovTask, tokens: Int[Array, "examples length"]) -> SequenceBatch:
        return next_tokens(tokens)
