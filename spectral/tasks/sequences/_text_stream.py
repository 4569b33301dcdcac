"""Streams whose sequences are windows of texts."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from ..._arguments import check_count
from .._base._limits import check_at_most
from .._base._splits import Split
from ._sequence_batch import next_tokens, SequenceBatch
from ._sequence_loader import SequenceLoader
from ._sequence_stream import AbstractSequenceStream
from ._text import Text, token_type
from ._text_windows import TextWindows


Change = TypeVar("Change")
GivenText = Text | str | os.PathLike[str]


class TextTask(eqx.Module, Generic[Change]):
    """The state of a stream of texts."""

    change: Change  # how this task differs from the others
    text: Int[Array, ""]  # which text it has
    order: Int[Array, " visits"]  # its training windows in the order of their visits


class TextSource(eqx.Module):
    """The windows of the texts of a stream, and the weights of their positions.

    **Arguments:**

    - `texts`: the texts, with tokens of one vocabulary.
    - `context`: tokens that the network sees at once.
    - `weights`: of the positions of a window, by default one for each.

    **Raises:** `ValueError` if a part of a text does not fill a window, or if the weights do not
    fit.
    """

    train: TextWindows
    held_out: TextWindows
    weights: Float[Array, " positions"] | None
    vocabulary_size: int = eqx.field(static=True)
    note: str = eqx.field(static=True)

    def __init__(self, texts: Sequence[Text], context: int, weights: tuple[float, ...] | None):
        check_count("context", context)
        for text in texts:
            parts = {"training": text.train, "held-out": text.held_out}
            for part, tokens in parts.items():
                if len(tokens) <= context:
                    raise ValueError(
                        f"`context` is {context}, which needs {context + 1} tokens, but the text "
                        f"{text.name!r} has {len(tokens)} {part} tokens: choose a shorter context, "
                        "a longer text, or another `held_out_fraction` of `load_text`."
                    )
        self.vocabulary_size = texts[0].vocabulary_size
        dtype = token_type(self.vocabulary_size)
        self.train = TextWindows([text.train for text in texts], context, dtype)
        self.held_out = TextWindows([text.held_out for text in texts], context, dtype)
        self.weights = position_weights(weights, context)
        self.note = " ".join(text.note for text in texts)

    def windows(self, split: Split) -> TextWindows:
        """Returns the windows of a split.

        **Raises:** `ValueError` for a split that texts do not have.
        """
        if split not in ("train", "held_out"):
            raise ValueError(
                f"`split` is {split!r}, but must be 'train' or 'held_out', because a text has no "
                "other parts: pass one of these."
            )
        return self.train if split == "train" else self.held_out


class AbstractTextStream(AbstractSequenceStream[TextTask[Change]], Generic[Change]):
    """Tasks made from windows of texts.

    A subclass defines how a task differs from the others. The training windows of a task are
    visited in passes, each in a new order, so that the numbers of visits of two windows differ by
    at most one. Held-out windows are from the end of the text and have no token in common with
    training windows. A task is evaluated on held-out windows at equal distances, the same in each
    run.
    """

    source: eqx.AbstractVar[TextSource]
    loader: eqx.AbstractVar[SequenceLoader]

    @property
    def context(self) -> int:
        """The number of tokens that the network sees at once."""
        return self.source.train.context

    @property
    def vocabulary_size(self) -> int:
        """The number of different tokens."""
        return self.source.vocabulary_size

    @property
    def num_evaluation_examples(self) -> int:
        """The number of held-out windows on which a task is evaluated."""
        return min(self.loader.num_evaluation_examples, self.source.held_out.fewest)

    @property
    def note(self) -> str:
        """Which texts these are."""
        return self.source.note

    @abstractmethod
    def change(self, index: Int[Array, ""], *, key: PRNGKeyArray) -> Change:
        """Returns how the task with this index differs from the others."""

    def text_of(self, index: Int[Array, ""]) -> Int[Array, ""]:
        """Returns the index of the text of a task, by default the first."""
        return jnp.zeros_like(index)

    def task(self, index: Int[Array, ""], *, key: PRNGKeyArray) -> TextTask[Change]:
        change_key, order_key = jax.random.split(key)
        text = self.text_of(index)
        order = self.source.train.visits(text, self.loader.visits, key=order_key)
        return TextTask(self.change(index, key=change_key), text, order)

    def draw(
        self, state: TextTask[Change], num_examples: int, split: Split, *, key: PRNGKeyArray
    ) -> Integer[Array, "examples length"]:
        """Returns `num_examples` windows. None is repeated, unless the text of the task has fewer;
        then its windows are repeated in turn.

        **Raises:** `ValueError` if `num_examples` exceeds the windows of the longest text, or for a
        split that does not exist.
        """
        windows = self.source.windows(split)
        most = f"no text has more than {windows.most} windows in the split {split!r}"
        check_at_most("num_examples", num_examples, windows.most, most)
        return windows.take(state.text, windows.visits(state.text, num_examples, key=key))

    def visited(
        self, state: TextTask[Change], chunk: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Integer[Array, "examples length"]:
        size = self.minibatches * self.loader.minibatch_size
        order = jax.lax.dynamic_slice_in_dim(state.order, chunk * size, size)
        return self.source.train.take(state.text, order)

    def evaluated(
        self, state: TextTask[Change], *, key: PRNGKeyArray
    ) -> Integer[Array, "examples length"]:
        windows = self.source.held_out
        return windows.take(state.text, windows.spaced(state.text, self.num_evaluation_examples))

    def present(
        self, state: TextTask[Change], tokens: Int[Array, "examples length"]
    ) -> SequenceBatch:
        return next_tokens(tokens, weights=self.source.weights)


def position_weights(
    weights: tuple[float, ...] | None, context: int
) -> Float[Array, " positions"] | None:
    """**Raises:** `ValueError` unless there is a weight for each position, none negative, and one
    above 0."""
    if weights is None:
        return None
    found = np.asarray(weights, dtype=float)
    if found.shape != (context,):
        raise ValueError(
            f"`weights` has the shape {found.shape}, but must have {(context,)}: pass one number "
            "for each position of a window."
        )
    if not np.all(np.isfinite(found) & (found >= 0)) or not np.any(found > 0):
        raise ValueError(
            f"`weights` is {weights}, but must be finite, at least 0, and above 0 at one position, "
            "so that a token counts: pass for example 0 for the first positions and 1 for the "
            "others."
        )
    return jnp.asarray(found, dtype=float)
