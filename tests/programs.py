"""What a compiled program consists of."""

from collections.abc import Iterator
from typing import Any

from jax.extend.core import jaxprs_in_params


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, those of inner programs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)


def largest(jaxpr: Any) -> int:
    """Numbers in the largest array that is computed."""
    return max(v.aval.size for e in equations(jaxpr) for v in e.outvars if hasattr(v.aval, "size"))
