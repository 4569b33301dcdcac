"""The Gauss-Newton matrix and the loss-weighted Gram matrix share their nonzero eigenvalues."""

import jax
import numpy as np
from jaxtyping import Float, PyTree

from ...curvature import AbstractOperator, Dense, GaussNewton, Risk, SoftmaxCrossEntropy


def gram_rank_bound(risk: Risk, params: PyTree) -> int:
    """Returns an upper bound on the rank of the Gauss-Newton matrix of N examples with C outputs.

    The nonzero eigenvalues are those of the Gram matrix, so the rank is at most N C. For softmax
    cross-entropy it is at most N (C - 1), because adding one number to all outputs does not change
    the loss. It is also at most the number of parameters. A normalised rank near this bound is not
    a sign of collapse, even if it is small.

    **Raises:** `ValueError` as `Gram`.
    """
    gram = GaussNewton(risk, params).gram()
    examples, outputs = gram.structure.shape
    invariant = isinstance(risk.loss, SoftmaxCrossEntropy)
    return min(examples * (outputs - invariant), gram.parameters)


def equivalence_gap(risk: Risk, params: PyTree) -> Float[np.ndarray, ""]:
    """Returns the largest difference between the sorted eigenvalues of the Gauss-Newton matrix
    G = F F^T and of the loss-weighted Gram matrix F^T F, divided by the largest eigenvalue.

    The gap is 0 up to rounding for every loss that is convex in the outputs, so the two eps-ranks
    agree for every epsilon. Both matrices are formed, so use it on small networks.

    **Raises:** `ValueError` as `Gram`, and as `Dense` if a matrix is too large.
    """
    ggn = GaussNewton(risk, params)
    of_ggn, of_gram = (_descending(operator) for operator in (ggn, ggn.gram()))
    size = max(of_ggn.size, of_gram.size)
    a, b = (np.pad(v, (0, size - v.size)) for v in (of_ggn, of_gram))
    largest = np.max(np.abs(a))
    return np.asarray(np.max(np.abs(a - b)) / (largest if largest > 0 else 1.0))


def _descending(operator: AbstractOperator) -> np.ndarray:
    nodes, _ = Dense()(operator, key=jax.random.key(0)).quadrature()
    # Padding with zeros at the end keeps the order, because no eigenvalue is negative.
    return np.sort(np.asarray(nodes[0]))[::-1]
