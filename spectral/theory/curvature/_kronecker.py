"""Section 7: ranks of Kronecker products and of the matrices they approximate."""

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
    """Returns the eps-rank of a Kronecker product of two symmetric matrices: how many products of
    their eigenvalues exceed epsilon in magnitude.

    The rank satisfies rank(A kron B) = rank A * rank B, but the eps-rank of the product is not a
    function of the eps-ranks of the factors. It is monotone in each factor in the order of positive
    semi-definite matrices: adding to a covariance never lowers it.

    ```python
    kronecker_epsilon_rank(jnp.diag(jnp.array([2.0, 0.1])), jnp.eye(3), 0.5)  # 3
    ```

    **Arguments:**

    - `inputs`: A, `[size, size]`, such as the second moment E[x x^T] of the inputs of a layer.
    - `gradients`: B, such as the second moment of the gradients in the outputs of that layer.
    - `epsilon`: a positive threshold, in the units of a product.

    For all layers of a network use `epsilon_rank` of the spectrum from `KroneckerEigh`.

    **Raises:** `ValueError` if a matrix is not square and symmetric (up to rounding), or `epsilon`
    is not positive.
    """
    check_above("epsilon", epsilon, 0)
    a, b = (_eigenvalues(n, m) for n, m in (("inputs", inputs), ("gradients", gradients)))
    return int(np.sum(np.abs(a[:, None] * b[None]) > epsilon))


def kronecker_rank_bound(risk: Risk, params: PyTree) -> int:
    """Returns sum_l rank A_l * rank B_l, an upper bound on the rank of the Gauss-Newton matrix.

    A_l and B_l are the factors of `KFAC(risk, params)`, with the exact output factor and with the
    positions of a layer treated as more examples. Other output factors have other ranges, and a
    mean over positions has a smaller range, so with them the sum is not a bound.

    The sum is the rank of the KFAC matrix itself, the block-diagonal matrix of the products. So
    section 7, which says that the network is tau-trainable if the sum is at least rho, holds with
    the KFAC matrix in the place of the Hessian, as the paper introduces it. For the Gauss-Newton
    matrix the condition is not sufficient; it is necessary for that matrix to have rank rho. It
    would be sufficient if (5) were exact and the blocks between layers were zero. Each block of the
    Gauss-Newton matrix is a sum of Kronecker products whose factors lie in the ranges of A_l and
    B_l. So the rank of the block is at most the product and the rank of the matrix at most the sum;
    both may be much smaller. The rank of a block does not increase with the ranks of the two
    covariances either, because it depends on how inputs and gradients are paired.

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

    Eigenvalues of a factor count as zero if they are within rounding of it, by the criterion of
    `numpy.linalg.matrix_rank`: its size times the machine epsilon times its largest eigenvalue.

    **Raises:** `ValueError` as `KFAC`.
    """
    total = 0
    for block in KFAC(risk, params).blocks:
        ranks = [[_rank(factor) for factor in pair] for pair in block.products]
        total += sum(rows * columns for rows, columns in ranks)
    return total


def _rank(factor: Float[Array, "..."]) -> int:
    matrix = np.asarray(factor)
    if matrix.ndim == 2:
        return int(np.linalg.matrix_rank(matrix))
    # The diagonal of a matrix, with the same criterion.
    return int(np.sum(matrix > matrix.size * np.finfo(matrix.dtype).eps * np.max(matrix)))


def covariance_effective_rank(features: Float[Array, "examples units"]) -> Float[Array, ""]:
    """Returns the effective rank of E[x x^T], which the objective in section 7 of the paper uses.

    Algorithm 1 and Appendix D.1 use the effective rank of the feature matrix instead
    (`spectral.models.feature_effective_rank`). The eigenvalues of the covariance are the squared
    singular values of the features divided by the number of examples, and squaring makes a
    distribution less even. So the effective rank of the covariance is at most that of the features,
    and the two agree if and only if all nonzero singular values are equal.

    ```python
    covariance_effective_rank(jnp.diag(jnp.array([2.0, 1.0])))  # 1.65; of the features: 1.89
    ```
    """
    # From the singular values, because a product of the features with themselves has half their
    # digits. Relative to the largest one, so that the squares neither overflow nor underflow.
    s = singular_values(features)
    return feature_effective_rank(jnp.diag((s / jnp.where(s[0] > 0, s[0], 1)) ** 2))


def _eigenvalues(name: str, matrix: Real[ArrayLike, "..."]) -> Float[np.ndarray, " size"]:
    array = np.asarray(matrix, np.float64)
    square = array.ndim == 2 and array.shape[0] == array.shape[1] > 0
    if not square or not np.allclose(array, array.T, rtol=1e-5, atol=1e-7 * np.abs(array).max()):
        raise ValueError(
            f"`{name}` is of shape {array.shape} or not symmetric, but must be square and "
            "symmetric: pass a second moment such as E[x x^T]."
        )
    return np.linalg.eigvalsh(array)
