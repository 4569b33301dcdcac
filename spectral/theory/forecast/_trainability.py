"""Definitions 5.1 and 5.2: successful training, plastic networks, tau-trainability."""

import numpy as np
from jaxtyping import ArrayLike, Bool, Real

from ..._arguments import check_above
from .._base._proportion import Proportion, proportion


def successful_training(
    score: Real[ArrayLike, "..."], reference: Real[ArrayLike, "..."], *, tolerance: float = 0.0
) -> Bool[np.ndarray, "..."]:
    """Returns whether a task was learned: whether its score is at least the reference minus the
    tolerance.

    Definition 5.1 compares with the maximum of the score over all networks, which cannot be
    observed. This function compares with a score that is known to be possible, such as the score of
    a newly initialised network trained on the same task. The tolerance is in units of the score.

    ```python
    successful_training(history["test_accuracy"], 0.9, tolerance=0.02)  # [tasks]
    ```

    **Raises:** `ValueError` if `tolerance` is negative, or a score or reference is NaN.
    """
    check_above("tolerance", tolerance, 0, strict=False)
    score, reference = np.asarray(score), np.asarray(reference)
    for name, value in (("score", score), ("reference", reference)):
        if np.any(np.isnan(value)):
            raise ValueError(
                f"`{name}` has NaN at {np.argwhere(np.isnan(value))[0].tolist()}, but a task "
                "without a score is neither success nor failure: remove such tasks, or give them a "
                "score."
            )
    return np.asarray(score >= reference - tolerance)


def plastic(
    scores: Real[ArrayLike, " tasks"],
    reference: Real[ArrayLike, "..."],
    *,
    tolerance: float = 0.0,
) -> bool:
    """Returns whether a network was trained successfully on all tasks (Definition 5.1).

    **Raises:** `ValueError` as `successful_training`, and if there are no tasks.
    """
    if np.size(scores) == 0:
        raise ValueError(
            "`scores` is empty, but must hold at least one score: pass one for each task."
        )
    return bool(np.all(successful_training(scores, reference, tolerance=tolerance)))


def tau_trainable(
    rank: Real[ArrayLike, "..."], threshold: Real[ArrayLike, "..."]
) -> Bool[np.ndarray, "..."]:
    """Returns whether the rank of the Hessian at the start of a task is at least the threshold rho
    of the task (Definition 5.2).

    The rank may be an eps-rank. For an estimated rank, call this with its lower and with its upper
    bound: if the answers differ, the estimate does not decide.

    **Raises:** `ValueError` if a rank or threshold is negative or not finite.
    """
    check_above("rank", rank, 0, strict=False)
    check_above("threshold", threshold, 0, strict=False)
    return np.asarray(np.asarray(rank) >= np.asarray(threshold))


def trainability(
    ranks: Real[ArrayLike, " seeds"], threshold: float, *, confidence: float = 0.95
) -> Proportion:
    """Returns the probability that a network is tau-trainable, estimated over independent seeds.

    ```python
    trainability(np.array([12.0, 30.0, 41.0]), 20)  # 2/3, between 0.09 and 0.99
    ```

    **Raises:** `ValueError` as `tau_trainable`, and if there are no seeds.
    """
    able = tau_trainable(ranks, threshold)
    return proportion(int(np.sum(able)), int(np.size(able)), confidence=confidence)
