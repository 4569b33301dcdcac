"""Definitions 5.1 and 5.2: successful training, plastic networks, tau-trainability."""

import numpy as np
from jaxtyping import ArrayLike, Bool, Real

from ..._arguments import check_above
from .._base._proportion import Proportion, proportion


def successful_training(
    score: Real[ArrayLike, "..."], reference: Real[ArrayLike, "..."], *, tolerance: float = 0.0
) -> Bool[np.ndarray, "..."]:
    """Whether a task was learned: its score is at least the reference less the tolerance.

    Definition 5.1 asks for the maximum of the score over all networks, which cannot be observed.
    It is judged here against a score that is known to be possible, such as that of a newly
    initialised network trained on the same task, and with a tolerance in units of the score.

    ```python
    successful_training(history["test_accuracy"], 0.9, tolerance=0.02)  # [tasks]
    ```

    **Raises:** `ValueError` for a tolerance below 0 or scores that are not numbers.
    """
    check_above("tolerance", tolerance, 0, strict=False)
    score, reference = np.asarray(score), np.asarray(reference)
    for name, value in (("score", score), ("reference", reference)):
        if np.any(np.isnan(value)):
            raise ValueError(
                f"`{name}` has NaN at {np.argwhere(np.isnan(value))[0].tolist()}: a network that "
                "diverged or a task that was not measured is neither success nor failure. Leave "
                "these out, or give them a score."
            )
    return np.asarray(score >= reference - tolerance)


def plastic(
    scores: Real[ArrayLike, " tasks"],
    reference: Real[ArrayLike, "..."],
    *,
    tolerance: float = 0.0,
) -> bool:
    """Whether a network was trained successfully on all tasks (Definition 5.1).

    **Raises:** `ValueError` as `successful_training`, and for no tasks at all.
    """
    if np.size(scores) == 0:
        raise ValueError("`scores` is empty, but a plastic network has learned at least one task.")
    return bool(np.all(successful_training(scores, reference, tolerance=tolerance)))


def tau_trainable(
    rank: Real[ArrayLike, "..."], threshold: Real[ArrayLike, "..."]
) -> Bool[np.ndarray, "..."]:
    """Whether the rank of the Hessian at the start of a task is at least the threshold rho of the
    task (Definition 5.2).

    The rank may be an eps-rank. With an estimated one, ask with its lower and with its upper bound:
    where the answers differ, nothing is known.

    **Raises:** `ValueError` for a rank or threshold below 0 or not finite.
    """
    check_above("rank", rank, 0, strict=False)
    check_above("threshold", threshold, 0, strict=False)
    return np.asarray(np.asarray(rank) >= np.asarray(threshold))


def trainability(
    ranks: Real[ArrayLike, " seeds"], threshold: float, *, confidence: float = 0.95
) -> Proportion:
    """The probability that a network is tau-trainable, estimated over independent seeds.

    ```python
    trainability(np.array([12.0, 30.0, 41.0]), 20)  # 2/3, between 0.09 and 0.99
    ```

    **Raises:** `ValueError` as `tau_trainable`, and for no seeds.
    """
    able = tau_trainable(ranks, threshold)
    return proportion(int(np.sum(able)), int(np.size(able)), confidence=confidence)
