"""A probability estimated by counting."""

import equinox as eqx
import numpy as np
import scipy.stats
from jaxtyping import ArrayLike, Float, Int

from ..._arguments import check_count
from ._open_interval import check_strictly_between_0_and_1


class Proportion(eqx.Module):
    """A fraction of independent trials, with the Clopper-Pearson interval of its probability."""

    value: Float[np.ndarray, "..."]
    lower: Float[np.ndarray, "..."]
    upper: Float[np.ndarray, "..."]


def proportion(
    successes: Int[ArrayLike, "..."], trials: int, *, confidence: float = 0.95
) -> Proportion:
    """Returns the fraction of successes, with an interval that contains the probability in at least
    a fraction `confidence` of all repetitions (Clopper and Pearson 1934).

    ```python
    proportion(0, 20).upper  # 0.168
    ```

    **Raises:** `ValueError` if `successes` is outside [0, trials], `trials` is below 1, or
    `confidence` is outside (0, 1).
    """
    check_count("trials", trials)
    check_strictly_between_0_and_1("confidence", confidence)
    count = np.asarray(successes)
    if np.any((count < 0) | (count > trials)):
        raise ValueError(
            f"`successes` is {successes}, but must lie between 0 and the {trials} `trials`: count "
            "both over the same trials."
        )
    tail = (1 - confidence) / 2
    quantile = scipy.stats.beta.ppf
    lower = np.where(count == 0, 0.0, quantile(tail, np.maximum(count, 1), trials - count + 1))
    upper = np.where(
        count == trials, 1.0, quantile(1 - tail, count + 1, np.maximum(trials - count, 1))
    )
    return Proportion(np.asarray(count / trials), lower, upper)
