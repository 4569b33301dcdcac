"""The kinds of parts that the command line lists. It imports nothing, so that help is fast."""

from typing import get_args, Literal


Kind = Literal[
    "streams",
    "models",
    "activations",
    "algorithms",
    "probes",
    "operators",
    "estimators",
    "benchmarks",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
