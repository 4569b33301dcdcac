"""Phrases that never are right, in prose of every file except the two tables of this folder.

Ordinary words with a second, good use ("at least", "weight sharing") are free. Names that
publications gave are free as well.
"""

import io
import pathlib
import re
import tokenize

import pytest


ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(
    path
    for pattern in (
        "spectral/**/*.py",
        "spectral/**/*.pyi",
        "spectral/**/*.html",
        "spectral/**/*.js",
        "tests/**/*.py",
        "examples/**/*.py",
        "examples/**/*.yaml",
        "examples/*.ipynb",
        "benchmarks/**/*.py",
        "*.py",
        "docs/**/*.md",
        "*.md",
        "Makefile",
    )
    for path in ROOT.glob(pattern)
    if path not in (pathlib.Path(__file__), pathlib.Path(__file__).with_name("test_words.py"))
)

# A phrase, and what to write in its place.
NEVER = {
    r"anew": "again, from scratch",
    r"spoil(s|t|ed|ing)?": "corrupt",
    r"such an? one": "one of these",
    r"but for": "except for, apart from",
    r"(come|comes|came|coming) by": "say what happens",
    r"(?<!there )(is|are|was|were) no(?! (longer|more|less|fewer|larger|smaller|greater|better"
    r"|worse|further|later|closer|faster|slower|doubt)\b) \w+": "is not a ...",
    r"none of them": "none of the others",
    r"refus(e|es|ed|al|ing)": "reject, raise",
    r"mend(s|ed|ing)?": "fix",
    r"(go|goes|going|gone|went) on": "continue",
    r"(in|of|at) (the|a) beginning": "initially, fresh",
    r"(?<!at )(?<!very )least(?! (squares|useful|recently)\b)(?!-squares)": "smallest",
    r"(the|a|equal|its|their) shares? of": "fraction",
    r"to be (called|handed over|switched) (once|by|with|when|before)": "use the imperative",
    r"whole turns": "multiples of 2 pi",
    r"cut normal": "truncated normal",
    r"ways? around": "skip connection",
    r"as many(?! (as|of)\b)": "say how many",
    r"nothing tells": "without any warning",
    r"probe vectors?": "random vectors",
    r"wherefore|thereof|whereof|hereby|thereby": "plain words",
}
PATTERN = re.compile("|".join(rf"(?:\b(?:{phrase})\b)" for phrase in NEVER), re.IGNORECASE)


def prose(path: pathlib.Path) -> list[tuple[int, str]]:
    """Lines of text a reader reads: of Python the comments and strings, of other files all."""
    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".py", ".pyi"):
        lines = list(enumerate(text.splitlines(), start=1))
        # The tables of these two name the words that are not used.
        tables = path.name in ("CONTRIBUTING.md", "CHANGELOG.md")
        return [(n, line) for n, line in lines if not (tables and line.startswith("|"))]
    lines = []
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            first = token.start[0]
            lines += [(first + i, line) for i, line in enumerate(token.string.splitlines())]
    return lines


def found(lines: list[tuple[int, str]]) -> list[str]:
    """Phrases that are never right, also where they are broken over two lines."""
    result = []
    for i, (number, line) in enumerate(lines):
        follows = i + 1 < len(lines) and lines[i + 1][0] == number + 1
        after = lines[i + 1][1].lstrip(" #\"'f") if follows else ""
        joined = f"{line.rstrip(' ')} {after}"
        for match in PATTERN.finditer(joined):
            if match.start() < len(line):
                result.append(f"{number}: {match[0]!r}")
    return result


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_phrases_that_are_never_right(path):
    assert found(prose(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "# Drawn anew for each task.",
        '"""A file that is spoilt is replaced."""',
        "# What is no array is left out.",
        "# All but for the last.",
        "The run goes on.",
        "The share of the units.",
        "The least eigenvalue.",
        "- `key`: to be called once.",
    ],
)
def test_a_planted_phrase_is_found(line):
    assert found([(1, line)])
    first, _, second = line.rpartition(" ")
    assert found([(1, first), (2, f"    {second}")]) or found([(1, line)])


@pytest.mark.parametrize(
    "line",
    ["At least two vectors.", "A least-squares fit.", "Weight sharing.", "It is no longer than 3."],
)
def test_good_uses_pass(line):
    assert found([(1, line)]) == []
