"""Section 7: ranks of Kronecker products, and of the matrices that they stand for."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from ..._arguments import check_above
from ...curvature import KFAC, Risk
from ...models import feature_effective_rank, singular_values


def kronecker_epsilon_rank(
    inputs: Real[ArrayLike, "..."],
    gradients: Real[ArrayLike, "..."],
    epsilon: float,
) -> int:
    """The eps-rank of a Kronecker product of two symmetric matrices: how many products of their
    eigenvalues are above epsilon in magnitude.

    With the rank it is otherwise: rank(A kron B) = rank A * rank B, but the eps-rank of the product
    is not a function of those of the factors. It is monotone in each of them in the order of
    positive semi-definite matrices: what is added to a covariance takes nothing away.

    ```python
    kronecker_epsilon_rank(jnp.diag(jnp.array([2.0, 0.1])), jnp.eye(3), 0.5)  # 3
    ```

    **Arguments:**

    - `inputs`: A, `[size, size]`, such as the second moment E[x x^T] of the inputs of a layer.
    - `gradients`: B, such as that of the gradients in its outputs.
    - `epsilon`: a positive threshold, in the units of a product.

    For all layers of a network ask `epsilon_rank` of `KroneckerEigh`.

    **Raises:** `ValueError` unless both are square and symmetric to rounding and epsilon positive.
    """
    check_above("epsilon", epsilon, 0)
    a, b = (_eigenvalues(n, m) for n, m in (("inputs", inputs), ("gradients", gradients)))
    return int(np.sum(np.abs(a[:, None] * b[None]) > epsilon))


def kronecker_rank_bound(risk: Risk, params: PyTree) -> int:
    """sum_l rank A_l * rank B_l: an upper bound on the rank of the Gauss-Newton matrix.

    A_l and B_l are the factors of `KFAC(risk, params)`, with the exact output factor, taking the
    positions of a layer for more examples. Those of other output factors have other ranges, and a
    mean over positions has a smaller one: with them the sum bounds nothing.

    Section 7 calls it sufficient for being tau-trainable that this is at least rho. It is not: it
    is necessary for the Gauss-Newton matrix to have the rank rho. Each block of that matrix is a
    sum of Kronecker products whose factors lie in the ranges of A_l and B_l, so its rank is at most
    the product, and that of the whole at most the sum; both may be much less. The rank of a block
    does not rise with those of the two covariances either: it depends on how inputs and gradients
    go together.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Risk, SquaredError
    from spectral.theory import kronecker_rank_bound

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.eye(3), jnp.zeros((3, 2)))
    kronecker_rank_bound(risk, model)
    ```

    Eigenvalues of a factor count as zero where they are at most its size times the rounding of its
    largest, as for `numpy.linalg.matrix_rank`.

    **Raises:** `ValueError` as `KFAC`.
    """
    total = 0
    for block in KFAC(risk, params).blocks:
        ranks = [np.linalg.matrix_rank(np.asarray(m)) for m in (block.inputs, block.outputs)]
        total += int(ranks[0]) * int(ranks[1])
    return total


def covariance_effective_rank(features: Float[Array, "examples units"]) -> Float[Array, ""]:
    """The effective rank of E[x x^T], which section 7 of the paper writes into its objective.

    Algorithm 1 and Appendix D.1 take that of the feature matrix instead
    (`spectral.models.feature_effective_rank`). The eigenvalues of the covariance are the squared
    singular values of the features, divided by their number, and squaring makes a distribution less
    even: so this one is the smaller of the two, and they agree if and only if all singular values
    that are not zero are equal.

    ```python
    covariance_effective_rank(jnp.diag(jnp.array([2.0, 1.0])))  # 1.65; of the features: 1.89
    ```
    """
    # Not of the product of the features with themselves, which has half their digits. Relative to
    # the largest, so that squares neither overflow nor underflow.
    s = singular_values(features)
    return feature_effective_rank(jnp.diag((s / jnp.where(s[0] > 0, s[0], 1)) ** 2))


def _eigenvalues(name: str, matrix: Real[ArrayLike, "..."]) -> Float[np.ndarray, " size"]:
    array = np.asarray(matrix, np.float64)
    square = array.ndim == 2 and array.shape[0] == array.shape[1] > 0
    if not square or not np.allclose(array, array.T, rtol=1e-5, atol=1e-7 * np.abs(array).max()):
        raise ValueError(
            f"`{name}` is of shape {array.shape} or not symmetric, but covariances are square and "
            "symmetric: pass E[x x^T]."
        )
    return np.linalg.eigvalsh(array)
