"""Corollary B.4: the effect of an L2 penalty on the eigenvalues of the Hessian."""

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..._arguments import check_above
from ._number import Number


def eigenvalue_floor(
    eigenvalues: Real[ArrayLike, " dim"],
    residual_norm: Number,
    *,
    weight_decay: Number = 0.0,
) -> Float[np.ndarray, " dim"]:
    """The part of Corollary B.4 that holds: lambda_i(H + w I) >= lambda_i(G) - ||R|| + w.

    This is Weyl's inequality for each index: entry i bounds the i-th largest eigenvalue of the
    Hessian of the loss with the penalty (w/2) ||theta||^2, which is the paper's q ||theta||^2 with
    w = 2q.

    Caution: if w is above epsilon, every zero eigenvalue of H counts towards the eps-rank of the
    regularised Hessian. Only eigenvalues within epsilon of -w do not count, so the eps-rank is
    almost full even for a collapsed network. Report the spectrum of the loss without its penalty.

    ```python
    eigenvalue_floor(jnp.array([3.0, 1.0, 0.0]), 0.5, weight_decay=0.1)  # [2.6, 0.6, -0.4]
    ```

    **Arguments:**

    - `eigenvalues`: all eigenvalues of the Gauss-Newton matrix G, in any order.
    - `residual_norm`: ||R||, or an upper bound such as `residual_bound` of Theorem B.3.
    - `weight_decay`: w.

    **Returns:** the bounds in descending order.

    **Raises:** `ValueError` if there are no eigenvalues, or `residual_norm` or `weight_decay` is
    negative.
    """
    ordered = descending("eigenvalues", eigenvalues)
    check_above("residual_norm", residual_norm, 0, strict=False)
    check_above("weight_decay", weight_decay, 0, strict=False)
    return ordered - float(residual_norm) + float(weight_decay)


def weyl(
    eigenvalues: Real[ArrayLike, " dim"], residual_eigenvalues: Real[ArrayLike, " residual"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Returns lower and upper bounds on the eigenvalues of G + R from both spectra, in descending
    order (Weyl's inequalities).

    lambda_(i+j-1)(G + R) <= lambda_i(G) + lambda_j(R), and lambda_(i+j-dim)(G + R) >= lambda_i(G) +
    lambda_j(R). The bounds are never wider than lambda_i(G) +- ||R||, and much narrower if few
    eigenvalues of R are large. Each of them is attained by some pair of matrices with these
    spectra. With the penalty (w/2) ||theta||^2 add w to both.

    ```python
    import jax.numpy as jnp
    from spectral.theory import weyl

    g, r = jnp.array([3.0, 2.0, 0.0]), jnp.array([1.0, 0.0, -1.0])
    weyl(g, r)  # [2, 1, -1] and [4, 3, 1]
    weyl(g, jnp.array([1.0, 0.0, 0.0]))  # [3, 2, 0] and [4, 3, 1]
    ```

    **Arguments:**

    - `eigenvalues`, `residual_eigenvalues`: all eigenvalues of G and of R, in any order. Those of R
        are known for two layers, see `two_layer_residual`.

    **Raises:** `ValueError` if there are no eigenvalues, or the two numbers of eigenvalues differ.
    """
    g, r = same_size(eigenvalues, residual_eigenvalues)
    places = range(g.size)
    lower = [np.max(g[i:] + r[i:][::-1]) for i in places]
    upper = [np.min(g[: i + 1] + r[: i + 1][::-1]) for i in places]
    return np.array(lower), np.array(upper)


def sufficient_weight_decay(
    eigenvalues: Real[ArrayLike, " dim"], residual_norm: Number, *, index: int
) -> float:
    """Returns max(0, ||R|| - lambda_index(G)). For any larger weight decay w Corollary B.4 makes
    the `index` largest eigenvalues of the regularised Hessian positive.

    The penalty is (w/2) ||theta||^2; in the paper's q ||theta||^2 the strength is q = w / 2.

    **Raises:** `ValueError` as `eigenvalue_floor`, and if `index` is outside [1, dim].
    """
    floor = eigenvalue_floor(eigenvalues, residual_norm)
    if not 1 <= index <= floor.size:
        raise ValueError(
            f"`index` is {index}, but there are {floor.size} `eigenvalues`: pass an index from 1 "
            f"to {floor.size}."
        )
    return max(0.0, -float(floor[index - 1]))


def descending(name: str, eigenvalues: Real[ArrayLike, " dim"]) -> Float[np.ndarray, " dim"]:
    """Returns the eigenvalues in float64, largest first.

    **Raises:** `ValueError` if they are not a vector of at least one finite number.
    """
    array = np.asarray(eigenvalues, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.all(np.isfinite(array)):
        raise ValueError(
            f"`{name}` is of shape {array.shape} or not finite, but must be a vector of at least "
            "one finite number: pass all eigenvalues of one matrix."
        )
    return np.sort(array)[::-1]


def same_size(
    eigenvalues: Real[ArrayLike, " dim"], residual_eigenvalues: Real[ArrayLike, " residual"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Returns the eigenvalues of both matrices as `descending` does.

    **Raises:** `ValueError` as `descending`, and if the two numbers of eigenvalues differ.
    """
    g = descending("eigenvalues", eigenvalues)
    r = descending("residual_eigenvalues", residual_eigenvalues)
    if g.size != r.size:
        raise ValueError(
            f"There are {g.size} `eigenvalues` and {r.size} `residual_eigenvalues`, but the two "
            "matrices must have the same size: pass all eigenvalues of both."
        )
    return g, r
