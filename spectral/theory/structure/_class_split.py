"""The Gauss-Newton matrix of softmax cross-entropy, split by classes."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PyTree

from ...curvature import Gram, Risk, SoftmaxCrossEntropy


class ClassSplit(eqx.Module):
    """The nonzero eigenvalues, up to rounding, of the four parts of a Gauss-Newton matrix, see
    `class_split`. Each has a number for each example and class, ascending."""

    class_means: Float[np.ndarray, " rows"]
    cross_class: Float[np.ndarray, " rows"]
    within_class: Float[np.ndarray, " rows"]
    own_class: Float[np.ndarray, " rows"]


def class_split(risk: Risk, params: PyTree) -> ClassSplit:
    """Splits the Gauss-Newton matrix of softmax cross-entropy into the parts of the class means, of
    the cross-class means, of the variation within them, and of each example's own class.

    G = (1/N) sum over examples n and classes k of d_nk d_nk^T, with d_nk = sqrt(p_nk)
    J_n^T (e_k - p_n). For k other than the label c of n, let d_ck be the mean of d_nk over the
    examples of class c, and d_c the mean of d_ck over k. Then d_nk = d_c + (d_ck - d_c) +
    (d_nk - d_ck), and all mixed products vanish in the sum. So G is exactly the sum of four
    positive semi-definite matrices: `class_means` of rank at most C, `cross_class` of rank at most
    C (C - 2), `within_class`, and `own_class`, the terms with k = c. Class and cross-class means
    are those of Papyan (2020, arXiv 2008.11865), who traces outliers of the spectrum to them.

    An eps-rank between C and C (C - 1) is thus what well separated classes give, and no sign of
    collapse.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Risk, SoftmaxCrossEntropy
    from spectral.theory import class_split

    def forward(params, inputs):
        return inputs @ params

    inputs, labels = jax.random.normal(jax.random.key(0), (6, 2)), jnp.arange(6) % 3
    parts = class_split(Risk(forward, SoftmaxCrossEntropy(), inputs, labels), jnp.zeros((2, 3)))
    parts.class_means.sum()  # the fraction of the trace follows from all four sums
    ```

    The Gram matrix has a row for each example and class and is diagonalised four times, so pass at
    most some hundreds of examples.

    **Raises:** `ValueError` as `Gram`, and for another loss.
    """
    if not isinstance(risk.loss, SoftmaxCrossEntropy):
        raise ValueError(
            f"The loss of `risk` is {type(risk.loss).__name__}, but the split by classes has the "
            "hypothesis of softmax cross-entropy: pass a risk with `SoftmaxCrossEntropy()`."
        )
    gram = Gram(risk, params)
    matrix = np.asarray(_dense(gram), np.float64)
    projectors = _projectors(np.asarray(risk.targets), gram.structure.shape[1])
    return ClassSplit(*(np.linalg.eigvalsh(p @ matrix @ p) for p in projectors))


@eqx.filter_jit
def _dense(gram: Gram) -> Float[Array, "rows rows"]:
    return gram.dense()


def _projectors(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, ...]:
    """Orthogonal projections of vectors over (example, class) whose sum is the identity."""
    classes = np.tile(np.arange(num_classes), (labels.size, 1))
    own = np.diag((classes == labels[:, None]).reshape(-1).astype(float))
    of_class = np.where(classes == labels[:, None], -1, labels[:, None]).reshape(-1)
    of_pair = np.where(of_class < 0, -1, num_classes * of_class + classes.reshape(-1))
    means, pairs = _averages(of_class), _averages(of_pair)
    return means, pairs - means, np.eye(own.shape[0]) - own - pairs, own


def _averages(groups: np.ndarray) -> np.ndarray:
    """The projection on vectors that are constant on each group, and 0 where the group is -1."""
    same = (groups[:, None] == groups[None]) & (groups >= 0)[:, None]
    return same / np.maximum(same.sum(axis=1, keepdims=True), 1)
