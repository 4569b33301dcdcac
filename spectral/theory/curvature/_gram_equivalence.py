"""The Gauss-Newton matrix and the loss-weighted Gram matrix have the same eigenvalues."""

import jax
import numpy as np
from jaxtyping import Float, PyTree

from ...curvature import Dense, GaussNewton, Risk, SoftmaxCrossEntropy


def gram_rank_bound(risk: Risk, params: PyTree) -> int:
    """An upper bound on the rank of the Gauss-Newton matrix of N examples with C outputs.

    It has the eigenvalues of the Gram matrix but for zeros, so its rank is at most N C; at most
    N (C - 1) for softmax cross-entropy, which does not change when the same number is added to all
    outputs; and at most the number of parameters. A normalised rank near this is not collapsed,
    however small it is.

    **Raises:** `ValueError` as `Gram`.
    """
    gram = GaussNewton(risk, params).gram()
    examples, outputs = gram.structure.shape
    invariant = isinstance(risk.loss, SoftmaxCrossEntropy)
    return min(examples * (outputs - invariant), gram.parameters)


def equivalence_gap(risk: Risk, params: PyTree) -> Float[np.ndarray, ""]:
    """The largest difference between the eigenvalues of the Gauss-Newton matrix G = F F^T and the
    loss-weighted Gram matrix F^T F, both written out, divided by the largest of them.

    0 but for rounding, for every loss that is convex in the outputs, so that their eps-ranks agree
    for every epsilon. For small networks, to see it.

    **Raises:** `ValueError` as `Gram`, and as `Dense` for matrices that are too large.
    """
    ggn = GaussNewton(risk, params)
    of_ggn, of_gram = (_descending(operator) for operator in (ggn, ggn.gram()))
    size = max(of_ggn.size, of_gram.size)
    a, b = (np.pad(v, (0, size - v.size)) for v in (of_ggn, of_gram))
    largest = np.max(np.abs(a))
    return np.asarray(np.max(np.abs(a - b)) / (largest if largest > 0 else 1.0))


def _descending(operator) -> np.ndarray:
    nodes, _ = Dense()(operator, key=jax.random.key(0)).quadrature()
    # The eigenvalues that are zero stay where they are: the others are none of them negative.
    return np.sort(np.asarray(nodes[0]))[::-1]
