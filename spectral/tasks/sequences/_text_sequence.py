"""Several texts one after the other."""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ..._arguments import as_int, check_count
from ..._types import Clock
from .._base._unused import unused
from ._load_text import as_text
from ._sequence_loader import SequenceLoader
from ._text import Text
from ._text_stream import AbstractTextStream, GivenText, TextSource, TextTask


class TextSequence(AbstractTextStream[None]):
    """Every task is another text. All texts have one vocabulary, the union of theirs.

    ```python
    texts = tuple(tasks.load_text(string=line * 40) for line in ("to be or not. ", "a rose is. "))
    stream = tasks.TextSequence(texts, context=8)
    stream.num_tasks, stream.vocabulary_size  # (2, 10)
    ```
    """

    source: TextSource
    loader: SequenceLoader
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        texts: tuple[GivenText, ...],
        *,
        context: int = 32,
        num_tasks: int | None = None,
        weights: tuple[float, ...] | None = None,
        loader: SequenceLoader | None = None,
    ):
        """**Arguments:**

        - `texts`: from `load_text`, or paths of text files.
        - `context`: tokens that the network sees at once.
        - `num_tasks`: by default one for each text. If there are more, the texts return in turn.
        - `weights`: of the losses of the positions, by default one for each.
        - `loader`: by default `SequenceLoader()`.

        **Raises:** `ValueError` for no texts or tasks, for texts of characters together with texts
        of given tokens, for a context that is too long for the training or the held-out part of a
        text, or for weights that do not fit; `TypeError` unless `texts` is a tuple;
        `FileNotFoundError` if there is no such file.
        """
        if not isinstance(texts, tuple | list):
            raise TypeError(
                f"`texts` is of type {type(texts).__name__}, but must be a tuple of texts or of "
                "paths: pass `(text,)` for one text."
            )
        if not texts:
            raise ValueError("`texts` is empty, but there must be at least one: pass a text.")
        known = [as_text("texts", text) for text in texts]
        self.num_tasks = len(known) if num_tasks is None else num_tasks
        check_count("num_tasks", self.num_tasks)
        self.source = TextSource(_united(known), context, weights)
        self.loader = SequenceLoader() if loader is None else loader

    def change(self, index: Int[Array, ""], *, key: PRNGKeyArray) -> None:
        return None

    def fresh_task(
        self, state: TextTask[None], clock: Clock, *, key: PRNGKeyArray
    ) -> TextTask[None]:
        """Returns a task with one of the texts after the first `num_tasks`, which the run never
        uses. A text that is not in the list is not known.

        **Raises:** `NoFreshTaskError` if there are no such texts.
        """
        index_key, task_key = jax.random.split(key)
        num_texts = len(self.source.train.counts)
        return self.task(unused("texts", num_texts, self.num_tasks, index_key), key=task_key)

    def text_of(self, index: Int[Array, ""]) -> Int[Array, ""]:
        return index % len(self.source.train.counts)


def _united(texts: Sequence[Text]) -> list[Text]:
    """The texts with tokens of the union of their vocabularies."""
    given = [text.name for text in texts if text.symbols is None]
    if len(given) == len(texts):
        size = max(text.vocabulary_size for text in texts)
        return [replace(text, vocabulary_size=size) for text in texts]
    if given:
        raise ValueError(
            f"`texts` has {given[0]!r}, whose tokens were given, besides texts of characters, but "
            "all must have one vocabulary: pass tokens for all of them, or for none."
        )
    symbols = tuple(sorted(set().union(*(text.symbols or () for text in texts))))
    index = {symbol: i for i, symbol in enumerate(symbols)}
    return [_renamed(text, index, symbols) for text in texts]


def _renamed(text: Text, index: dict[str, int], symbols: tuple[str, ...]) -> Text:
    tokens = np.array([index[symbol] for symbol in text.symbols or ()])
    return replace(
        text,
        train=tokens[text.train],
        held_out=tokens[text.held_out],
        vocabulary_size=len(symbols),
        symbols=symbols,
    )
