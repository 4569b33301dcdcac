"""A text as tokens, with its vocabulary."""

import hashlib

import equinox as eqx
import numpy as np
from jaxtyping import Integer

from ..._arguments import as_int


class Text(eqx.Module):
    """A text as tokens: training tokens, and held-out tokens from its end. See `load_text`.

    ```python
    text = tasks.load_text(string="abcabcabd" * 20)
    text.vocabulary_size, text.symbols  # (4, ("a", "b", "c", "d"))
    ```

    Tokens are integers of the smallest type that holds the vocabulary, which is one byte for most
    alphabets.
    """

    name: str = eqx.field(static=True)
    train: Integer[np.ndarray, " train"]
    held_out: Integer[np.ndarray, " held_out"]
    vocabulary_size: int = eqx.field(static=True, converter=as_int)
    symbols: tuple[str, ...] | None = eqx.field(static=True)  # None: the tokens were given
    sha256: str = eqx.field(static=True)  # of the UTF-8 text, or of the tokens as 32-bit integers

    @property
    def note(self) -> str:
        """Which text this is, for tables."""
        return f"Text {self.name!r}, SHA-256 {self.sha256[:16]}."


def text_of_string(name: str, string: str, held_out_fraction: float) -> Text:
    """Returns a text whose tokens are its characters, in the order of their code points."""
    # Any character of Python, lone surrogates included, is one number.
    points = np.frombuffer(string.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    known, tokens = np.unique(points, return_inverse=True)
    digest = hashlib.sha256(string.encode("utf-8", "surrogatepass")).hexdigest()
    symbols = tuple(map(chr, known.tolist()))
    train, held_out = divided(tokens, len(symbols), held_out_fraction)
    return Text(name, train, held_out, len(symbols), symbols, digest)


def text_of_tokens(
    name: str,
    tokens: Integer[np.ndarray, " tokens"],
    vocabulary_size: int,
    held_out_fraction: float,
) -> Text:
    """Returns a text whose tokens are these."""
    digest = hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()
    train, held_out = divided(tokens, vocabulary_size, held_out_fraction)
    return Text(name, train, held_out, vocabulary_size, None, digest)


def divided(
    tokens: Integer[np.ndarray, " tokens"], vocabulary_size: int, held_out_fraction: float
) -> tuple[Integer[np.ndarray, " train"], Integer[np.ndarray, " held_out"]]:
    """Returns the training tokens, and the last fraction of the tokens, in a small type."""
    small = tokens.astype(token_type(vocabulary_size))
    first = len(small) - round(held_out_fraction * len(small))
    return small[:first], small[first:]


def token_type(vocabulary_size: int) -> np.dtype:
    """The smallest type of integers for a vocabulary."""
    return (
        np.dtype(np.int32) if vocabulary_size > 2**16 else np.min_scalar_type(vocabulary_size - 1)
    )
