"""Confidence intervals over seeds."""

import numpy as np
import scipy.stats


def student_half_width(values: np.ndarray) -> np.ndarray:
    """Half the width of the 95 % confidence interval of the mean over the first axis.

    Student's t with n - 1 degrees of freedom, for n independent values; NaN for a single one.

    ```python
    student_half_width(np.array([0.8, 0.9, 1.0]))  # 0.248
    ```
    """
    n = len(values)
    if n < 2:
        return np.full(values.shape[1:], np.nan)
    error = np.std(values, axis=0, ddof=1) / np.sqrt(n)
    return np.asarray(scipy.stats.t.ppf(0.975, n - 1) * error)
