"""The Gram matrix of a Gauss-Newton or Fisher matrix, for estimators that need it."""

from typing import Any

from ..operators._block import reduce_block
from ..operators._operator import AbstractOperator


def gram_of(operator: AbstractOperator, estimator: str, instead: str) -> AbstractOperator:
    """The Gram matrix F^T F of an operator F F^T.

    **Arguments:**

    - `estimator`, `instead`: which estimator needs it, and what works for other operators.

    **Raises:** `TypeError` if the operator has no method `gram`.
    """
    operator = reduce_block(operator)
    make: Any = getattr(operator, "gram", None)
    if make is None:
        raise TypeError(
            f"A {type(operator).__name__} has no Gram matrix, but `{estimator}` needs an operator "
            "with the method `gram`: pass a `GaussNewton`, a `Fisher` or a block of one, or use "
            f"{instead}."
        )
    return make()
