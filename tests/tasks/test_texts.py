"""Texts: files, strings, tokens, and the text that comes with Python."""

import hashlib
import platform

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import tasks
from spectral.tasks.sequences._text_windows import TextWindows


def decoded(text: tasks.Text) -> str:
    symbols = np.array(text.symbols)
    return "".join(symbols[np.concatenate([text.train, text.held_out])])


def test_the_default_text_is_that_of_python():
    from pydoc_data.topics import topics

    text = tasks.load_text()
    read = decoded(text)
    paragraphs = read.split("\n\n")
    assert set(paragraphs) == set("\n\n".join(topics.values()).split("\n\n"))
    assert len(set(paragraphs)) == len(paragraphs)
    assert len(read) > 300_000
    assert text.sha256 == hashlib.sha256(read.encode()).hexdigest()
    assert platform.python_version() in text.name
    assert text.sha256[:16] in text.note
    assert text.name in text.note
    assert text.train.dtype == np.uint8


def test_a_file_and_a_string_are_the_same_text(tmp_path):
    string = "Zürich\r\n\U0001f600 " * 30
    path = tmp_path / "notes.txt"
    path.write_bytes(string.encode())
    of_file, of_string = tasks.load_text(path=path), tasks.load_text(string=string)
    assert of_file.name == "notes"
    assert decoded(of_file) == decoded(of_string) == string
    assert of_file.sha256 == of_string.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert of_file.symbols == tuple(sorted(set(string)))
    assert len(of_file.held_out) == round(0.1 * len(string))


@pytest.mark.parametrize(
    ("size", "dtype"), [(None, np.uint8), (256, np.uint8), (257, np.uint16), (2**16 + 1, np.int32)]
)
def test_tokens_have_the_smallest_type(size, dtype):
    given = [3, 0, 2, 1] * 5
    text = tasks.load_text(tokens=given, vocabulary_size=size, held_out_fraction=0.25)
    assert text.vocabulary_size == (size or 4)
    assert text.train.dtype == text.held_out.dtype == dtype
    assert text.symbols is None
    assert text.train.tolist() + text.held_out.tolist() == given
    assert len(text.held_out) == 5
    digest = hashlib.sha256(np.array(given, "<i4").tobytes()).hexdigest()
    assert text.sha256 == digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"string": ""}, "`string` is empty, but must have symbols: pass"),
        ({"tokens": []}, "`tokens` is empty, but must have symbols: pass"),
        ({"tokens": [0, 1, 5], "vocabulary_size": 5}, "`tokens` has 5 at 2, .* from 0 to 4: corr"),
        ({"tokens": [0, -1]}, "`tokens` has -1 at 1, but must be from 0"),
        ({"tokens": [0, 2**31]}, "`tokens` has 2147483648 at 1, but must be from 0"),
        ({"tokens": [0.0, 1.0]}, r"`tokens` is float64 \(2,\), but must be integers `\[tokens\]`"),
        ({"tokens": [[0, 1]]}, r"`tokens` is int64 \(1, 2\), but must be integers `\[tokens\]`"),
        ({"tokens": [0], "vocabulary_size": 0}, "`vocabulary_size` is 0, but must be an integer"),
        ({"string": "a", "vocabulary_size": 5}, "`vocabulary_size` is 5, but belongs to `tokens`"),
        ({"string": "a", "tokens": [1]}, "`tokens` is given besides `string`, .*: leave one out"),
        ({"string": "ab", "held_out_fraction": 1.0}, "`held_out_fraction` is 1.0, but must be abo"),
        ({"string": "ab", "held_out_fraction": 0.0}, "`held_out_fraction` is 0.0, but must be abo"),
    ],
)
def test_what_is_not_a_text_is_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        tasks.load_text(**options)


def test_a_file_that_is_not_a_text_is_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` is .*, but must be a file that exists"):
        tasks.load_text(path=tmp_path / "none.txt")
    (tmp_path / "image.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="`path` is .*, which is not UTF-8 text"):
        tasks.load_text(path=tmp_path / "image.txt")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="`path` is .*, which is empty, but must have symbols"):
        tasks.load_text(path=tmp_path / "empty.txt")
    with pytest.raises(FileNotFoundError, match="`text` is .*, but must be a file that exists"):
        tasks.PermutedVocabulary(text=str(tmp_path / "none.txt"))


def test_windows_of_long_texts_are_at_equal_distances():
    """The product of an index and the number of windows does not fit into 32 bits."""
    windows = TextWindows([np.zeros(3, np.uint8)] * 3, 2, np.dtype(np.uint8))
    counts = [60_000, 100_000, 2**31 - 1]
    windows = eqx.tree_at(lambda w: w.counts, windows, jnp.asarray(counts))
    found = jax.jit(jax.vmap(lambda text: windows.spaced(text, 60_000)))(jnp.arange(3))
    right = np.arange(60_000)[None] * np.array(counts)[:, None] // 60_000
    np.testing.assert_array_equal(found, right)
