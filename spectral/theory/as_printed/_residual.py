"""Theorem B.3 as printed."""

from ..curvature import _residual
from ..curvature._number import Number


def residual_bound(
    num_outputs: int,
    curvature: Number,
    gradient: Number,
    *,
    shift: Number,
    network_lipschitz: Number,
    gradient_lipschitz: Number,
) -> float:
    """Theorem B.3, equation (27), as printed; false if labels change.

    Step (33) compares the gradients at an old and a new input under one label. If the inputs stay
    and the labels are drawn again, the bound is that of the old task, which is 0 if that task was
    fitted exactly. `spectral.theory.residual_bound` holds; it has these arguments and
    `label_change`.

    **Raises:** `ValueError` as `spectral.theory.residual_bound`.
    """
    return _residual.residual_bound(
        num_outputs,
        curvature,
        gradient,
        shift=shift,
        network_lipschitz=network_lipschitz,
        gradient_lipschitz=gradient_lipschitz,
        label_change=0.0,
    )
