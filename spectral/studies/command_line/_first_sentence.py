"""The first sentence of a text."""

import re


def first_sentence(text: str) -> str:
    """The first sentence of the first paragraph of `text`, in one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\S[.?]) (?=[A-Z])", paragraph)[0]
