"""Corollary B.4: what an L2 penalty does to the eigenvalues of the Hessian."""

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_above


Number = float | np.floating | Float[Array, ""]


def eigenvalue_floor(
    eigenvalues: Real[ArrayLike, " dim"],
    residual_norm: Number,
    *,
    weight_decay: Number = 0.0,
) -> Float[np.ndarray, " dim"]:
    """Corollary B.4, as far as it is true: lambda_i(H + w I) >= lambda_i(G) - ||R|| + w.

    Weyl's inequality, index by index: the i-th entry bounds the i-th largest eigenvalue of the
    Hessian with the penalty (w/2) ||theta||^2, which is the paper's q ||theta||^2 with w = 2q.

    Caution: with w above epsilon every zero eigenvalue of H counts towards the eps-rank of the
    regularised Hessian, and only those within epsilon of -w do not: it is nearly full for a network
    that has collapsed. Report the spectrum of the loss without its penalty.

    ```python
    eigenvalue_floor(jnp.array([3.0, 1.0, 0.0]), 0.5, weight_decay=0.1)  # [2.6, 0.6, -0.4]
    ```

    **Arguments:**

    - `eigenvalues`: all those of the Gauss-Newton matrix G, in any order.
    - `residual_norm`: ||R||, or more, such as `residual_bound` of Theorem B.3.
    - `weight_decay`: w.

    **Returns:** the bounds in descending order.

    **Raises:** `ValueError` for no eigenvalues, or a norm or weight decay below 0.
    """
    ordered = descending(eigenvalues)
    check_above("residual_norm", residual_norm, 0, strict=False)
    check_above("weight_decay", weight_decay, 0, strict=False)
    return ordered - float(residual_norm) + float(weight_decay)


def sufficient_weight_decay(
    eigenvalues: Real[ArrayLike, " dim"], residual_norm: Number, *, index: int
) -> float:
    """The smallest weight decay w above which Corollary B.4 makes the eigenvalues 1, ..., `index`
    of the regularised Hessian positive: max(0, ||R|| - lambda_index(G)).

    The penalty is (w/2) ||theta||^2; in the paper's q ||theta||^2 the strength is q = w / 2.

    **Raises:** `ValueError` as `eigenvalue_floor`, and for an index outside [1, dim].
    """
    floor = eigenvalue_floor(eigenvalues, residual_norm)
    if not 1 <= index <= floor.size:
        raise ValueError(
            f"`index` is {index}, but there are {floor.size} eigenvalues: count from 1."
        )
    return max(0.0, -float(floor[index - 1]))


def descending(eigenvalues: Real[ArrayLike, " dim"]) -> Float[np.ndarray, " dim"]:
    array = np.asarray(eigenvalues, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.all(np.isfinite(array)):
        raise ValueError(
            f"The eigenvalues have the shape {array.shape}, but must be at least one finite "
            "number, all eigenvalues of one matrix: pass them as a vector."
        )
    return np.sort(array)[::-1]
