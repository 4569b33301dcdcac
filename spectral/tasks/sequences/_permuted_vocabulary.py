"""One text, whose symbols are renamed in every task."""

from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Int, PRNGKeyArray

from ..._arguments import as_int, check_count
from ._load_text import as_text
from ._sequence_batch import next_tokens, SequenceBatch
from ._sequence_loader import SequenceLoader
from ._text_stream import AbstractTextStream, GivenText, TextSource, TextTask


class PermutedVocabulary(AbstractTextStream[Int[Array, " symbols"]]):
    """Every task renames the symbols of one text.

    At a task boundary a permutation of the vocabulary is drawn and applied to the *original*
    tokens, so that tasks do not compound: symbol s of the text is token `permutation[s]`, in
    training and held-out windows. The network predicts each next token. Every task is as hard as
    the text, and a network that has learned one task knows the next one up to the names. This is
    the analogue of `PermutedImages` for sequences.

    ```python
    text = tasks.load_text(string="She sells sea shells by the sea shore. " * 40)
    loader = tasks.SequenceLoader(steps_per_task=20, minibatch_size=4)
    stream = tasks.PermutedVocabulary(text=text, context=16, num_tasks=3, loader=loader)
    stream.vocabulary_size  # 14
    ```
    """

    draws_tasks: ClassVar[bool] = True
    source: TextSource
    loader: SequenceLoader
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        *,
        text: GivenText | None = None,
        context: int = 32,
        num_tasks: int = 100,
        weights: tuple[float, ...] | None = None,
        loader: SequenceLoader | None = None,
    ):
        """**Arguments:**

        - `text`: from `load_text`, or the path of a text file. By default `load_text()`, whose text
          differs between versions of Python. The hash of the text is in the notes of the
          quantities, which a run records.
        - `context`: tokens that the network sees at once.
        - `num_tasks`: tasks in the stream.
        - `weights`: of the losses of the positions, by default one for each.
        - `loader`: by default `SequenceLoader()`.

        **Raises:** `ValueError` for no tasks, for a text of one symbol, for a context that is too
        long for the training or the held-out part of the text, or for weights that do not fit;
        `FileNotFoundError` if there is no such file.
        """
        check_count("num_tasks", num_tasks)
        known = as_text("text", text)
        if known.vocabulary_size < 2:
            raise ValueError(
                f"`text` is {known.name!r}, which has one symbol, but there must be two to rename: "
                "pass another text."
            )
        self.source = TextSource([known], context, weights)
        self.loader = SequenceLoader() if loader is None else loader
        self.num_tasks = num_tasks

    def change(self, index: Int[Array, ""], *, key: PRNGKeyArray) -> Int[Array, " symbols"]:
        return jax.random.permutation(key, self.vocabulary_size)

    def present(
        self, state: TextTask[Int[Array, " symbols"]], tokens: Int[Array, "examples length"]
    ) -> SequenceBatch:
        return next_tokens(state.change[tokens], weights=self.source.weights)
