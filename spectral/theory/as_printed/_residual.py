"""Theorem B.3 as printed."""

from ..curvature import _residual
from ..curvature._residual import Number


def residual_bound(
    num_outputs: int,
    curvature: Number,
    gradient: Number,
    *,
    shift: Number,
    network_lipschitz: Number,
    gradient_lipschitz: Number,
) -> float:
    """Theorem B.3, equation (27), as printed; false where labels change.

    (33) compares the gradients at an old and a new input under the same label. With random labels
    on the same inputs the bound is that of the old task, which may be 0.
    `spectral.theory.residual_bound` holds and has the same arguments.

    **Raises:** `ValueError` as `residual_bound`.
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
