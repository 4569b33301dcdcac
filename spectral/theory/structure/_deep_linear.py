"""The rank of the Gauss-Newton matrix of deep linear networks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Float

from ..._arguments import check_count


def generic_linear_rank(sizes: Sequence[int], *, input_rank: int) -> int:
    """Returns the rank q (r + K - q) of the Gauss-Newton matrix of a deep linear network with
    squared error, for almost all weights.

    K is the number of outputs, r the rank of the inputs, and q the smallest of r, K and the hidden
    widths (Singh, Bachmann and Hofmann, 2021, arXiv 2106.16225). The number does not depend on the
    depth, and hidden layers wider than r and K do not change it, whereas the number of parameters
    grows with both. So a normalised rank falls with width and depth although nothing has collapsed.
    `linear_rank` is the rank for given weights, with its proof.

    ```python
    generic_linear_rank((20, 5, 10), input_rank=20)  # 125
    ```

    **Arguments:**

    - `sizes`: inputs, hidden widths and outputs. For softmax cross-entropy pass K - 1 as the last
        size, because adding one number to all outputs does not change the loss.
    - `input_rank`: the rank of the matrix of all inputs, at most the number of examples.

    The layers have no biases.

    **Raises:** `ValueError` unless there are at least two sizes of at least 1, and unless
    `input_rank` lies from 1 to the first size.
    """
    for size in sizes:
        check_count("sizes", size)
    check_count("input_rank", input_rank)
    if len(sizes) < 2 or input_rank > sizes[0]:
        raise ValueError(
            f"`sizes` is {tuple(sizes)} and `input_rank` is {input_rank}, but a network "
            "has inputs and outputs, and the rank of its inputs is at most their size: pass "
            "`sizes` from the inputs to the outputs."
        )
    bottleneck = min(input_rank, *sizes[1:])
    return bottleneck * (input_rank + sizes[-1] - bottleneck)


def linear_rank(
    weights: Sequence[Float[ArrayLike, "_ _"]], inputs: Float[ArrayLike, "examples size"]
) -> int:
    """Returns the rank of the Gauss-Newton matrix of a deep linear network for given weights, with
    squared error.

    Proof: a change of W_l changes the outputs by A_l dW_l B_l, with the product A_l of the weights
    after it and the product B_l of those before it and the inputs. So the range of the Jacobian is
    the sum over l of col(A_l) x row(B_l). The column spaces grow with l and the row spaces shrink.
    In bases that are adapted to both, the sum is a staircase, and its dimension is
    sum_l (rank A_l - rank A_(l-1)) rank B_l with rank A_0 = 0. If all products have the largest
    rank that their sizes allow, this is `generic_linear_rank`.

    ```python
    import numpy as np
    from spectral.theory import linear_rank

    linear_rank([np.ones((2, 3)), np.ones((1, 2))], np.eye(3))  # 3
    ```

    **Arguments:**

    - `weights`: `[out, in]` from the first layer to the last, without biases. For softmax
        cross-entropy replace the last one, W, by the K - 1 differences W[:-1] - W[-1:] of logits,
        on which alone the loss depends.
    - `inputs`: all examples.

    **Raises:** `ValueError` if the sizes do not fit or there are no weights.
    """
    matrices = [np.asarray(w, np.float64) for w in weights]
    before = np.asarray(inputs, np.float64).T
    sizes = [before.shape[0], *(w.shape[0] for w in matrices)]
    if not matrices or [w.shape[1] for w in matrices] != sizes[:-1]:
        raise ValueError(
            f"`weights` has the shapes {[w.shape for w in matrices]} and `inputs` has rows of "
            f"{sizes[0]} numbers, but each layer must take what the layer before returns: pass "
            "at least one matrix, `[out, in]`, from the first layer to the last."
        )
    after = np.eye(sizes[-1])
    afters = [after]
    for matrix in matrices[:0:-1]:
        after = after @ matrix
        afters.append(after)
    total = lower = 0
    for matrix, after in zip(matrices, reversed(afters), strict=True):
        columns = int(np.linalg.matrix_rank(after))
        total += (columns - lower) * int(np.linalg.matrix_rank(before))
        before, lower = matrix @ before, columns
    return total
