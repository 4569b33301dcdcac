"""The size of the gradient, compared with that of the parameters."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...curvature import gradient_to_parameter_ratio
from ...models import connected
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe


class GradientToParameterRatio(AbstractSamplingProbe):
    """Records the norm of the gradient of the stream's criterion divided by that of the parameters:
    `total`, of all arrays together, and `by_tensor`, `[tensors]`.

    An array of zeros has no ratio, and is NaN. Weights without a connection in a sparse layer count
    as zeros. It takes one gradient over the examples. See
    `spectral.curvature.gradient_to_parameter_ratio`.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        model = connected(sampler.learner.model)
        gradient = eqx.filter_grad(sampler.risk(key=key))(model)
        ratio = gradient_to_parameter_ratio(gradient, model)
        by_tensor = jnp.stack(list(ratio.by_tensor.values()))
        return {"total": ratio.total, "by_tensor": by_tensor}

    def quantities(self) -> dict[str, Quantity]:
        size: dict[str, Any] = {
            "limits": (0.0, None),
            "scale": "log",
            "better": "higher",
            "figure": "gradients",
            "cost": 1,
        }
        return {
            "total": Quantity("gradient-to-parameter ratio", **size),
            "by_tensor": Quantity(
                "gradient-to-parameter ratio (mean of the tensors)", reduce="mean_known", **size
            ),
        }
