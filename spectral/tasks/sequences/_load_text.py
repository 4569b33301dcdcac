"""Texts from files, strings, token arrays, and the documentation of Python."""

import os
import platform
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Integer

from ..._arguments import check_count
from ..._base._paths import existing_file
from ._text import Text, text_of_string, text_of_tokens


def load_text(
    *,
    path: str | os.PathLike[str] | None = None,
    string: str | None = None,
    tokens: Any = None,
    vocabulary_size: int | None = None,
    name: str | None = None,
    held_out_fraction: float = 0.1,
) -> Text:
    """Load a text from a file, a string or an array of tokens; without any of these, the English
    text that comes with Python.

    The symbols of a file or string are its characters. The default is the text of
    `pydoc_data.topics`, the help pages on the language, without the paragraphs that it repeats. It
    has about 370,000 characters, needs no download, and differs between versions of Python: tables
    made with it must name the version, as its `name` does.

    ```python
    import pathlib

    pathlib.Path("notes.txt").write_text("All work and no play. " * 50)
    text = load_text(path="notes.txt", held_out_fraction=0.2)
    len(text.train), len(text.held_out)  # (880, 220)
    ```

    **Arguments:**

    - `path`: of a text file in UTF-8.
    - `string`: a text.
    - `tokens`: integers `[tokens]` from 0, such as those of a tokeniser.
    - `vocabulary_size`: of `tokens`, by default one more than the largest.
    - `name`: for tables and messages; by default that of the file.
    - `held_out_fraction`: the fraction of the text, at its end, that is never trained on.

    **Raises:** `FileNotFoundError` if there is no such file; `ValueError` if more than one of
    `path`, `string` and `tokens` is given, for a file that is not UTF-8, an empty text, tokens that
    are not integers `[tokens]` or are out of range, or a fraction that is not between 0 and 1.
    """
    given = [
        n for n, v in (("path", path), ("string", string), ("tokens", tokens)) if v is not None
    ]
    if len(given) > 1:
        raise ValueError(
            f"`{given[1]}` is given besides `{given[0]}`, but a text has one source: leave one out."
        )
    if vocabulary_size is not None and tokens is None:
        raise ValueError(
            f"`vocabulary_size` is {vocabulary_size}, but belongs to `tokens`, and there are none: "
            "leave it out, since the vocabulary of a text is its characters."
        )
    if not 0 < held_out_fraction < 1:
        raise ValueError(
            f"`held_out_fraction` is {held_out_fraction}, but must be above 0 and below 1: pass "
            "for example 0.1."
        )
    if tokens is not None:
        known = _checked(tokens, vocabulary_size)
        size = int(known.max()) + 1 if vocabulary_size is None else vocabulary_size
        return text_of_tokens(name or "tokens", known, size, held_out_fraction)
    if path is not None:
        own, string = existing_file("path", path).stem, _read(path)
    elif string is not None:
        own = "string"
    else:
        own, string = f"pydoc_data.topics of Python {platform.python_version()}", _topics()
    if not string:
        source = "path" if path is not None else "string"
        what = f"{str(path)!r}, which is empty" if path is not None else "empty"
        raise ValueError(f"`{source}` is {what}, but must have symbols: pass another text.")
    return text_of_string(name or own, string, held_out_fraction)


def as_text(name: str, given: Text | str | os.PathLike[str] | None) -> Text:
    """Returns a text, the text of a file, or the default for `None`."""
    if isinstance(given, Text):
        return given
    if given is None:
        return load_text()
    existing_file(name, given)  # a message that names this argument
    return load_text(path=given)


def _read(path: str | os.PathLike[str]) -> str:
    # Bytes, so that line ends are not changed and the hash is that of the file.
    content = existing_file("path", path).read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`path` is {str(path)!r}, which is not UTF-8 text ({error}): convert it, or pass its "
            "bytes as `tokens`."
        ) from error


def _topics() -> str:
    from pydoc_data.topics import topics

    # Some help pages contain others. A repeated paragraph could be both trained on and held out.
    text = "\n\n".join(topics[name] for name in sorted(topics))
    return "\n\n".join(dict.fromkeys(text.split("\n\n")))


def _checked(tokens: Any, vocabulary_size: int | None) -> Integer[np.ndarray, " tokens"]:
    if vocabulary_size is not None:
        check_count("vocabulary_size", vocabulary_size)
    if isinstance(tokens, Tracer):
        raise ValueError(
            "`tokens` is traced, but a text is made outside of `jax.jit`: make it before."
        )
    found = np.asarray(tokens)
    if found.ndim != 1 or (found.size and not np.issubdtype(found.dtype, np.integer)):
        raise ValueError(
            f"`tokens` is {found.dtype} {found.shape}, but must be integers `[tokens]`: pass one "
            "array of the indices that a tokeniser gives."
        )
    if not found.size:
        raise ValueError("`tokens` is empty, but must have symbols: pass another text.")
    # Without a vocabulary only the smallest type of integers that JAX indexes with limits it.
    limit = np.iinfo(np.int32).max if vocabulary_size is None else vocabulary_size
    wrong = np.flatnonzero((found < 0) | (found >= limit))
    if wrong.size:
        raise ValueError(
            f"`tokens` has {found[wrong[0]]} at {wrong[0]}, but must be from 0 to {limit - 1}: "
            "correct the tokens, or raise `vocabulary_size`."
        )
    return found
