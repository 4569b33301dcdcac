"""Optimisation readiness: how much one step of SGD can gain."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_count
from ..._base._readable import readable
from ._moments import GradientMoments


class Readiness(eqx.Module):
    """Optimisation readiness and its two factors, for one minibatch size."""

    value: Float[Array, ""]  # strength times reliability, per unit of parameter squared
    strength: Float[Array, ""]  # ||g||^2 / L
    reliability: Float[Array, ""]  # ||g||^2 / E ||g_m||^2, between 0 and 1

    __repr__ = readable


def optimisation_readiness(
    moments: GradientMoments,
    loss: Real[ArrayLike, ""],
    *,
    minibatch_size: int,
    replacement: bool = True,
) -> Readiness:
    """||g||^4 / (L E ||g_m||^2), with g_m the gradient of a minibatch of m examples (Wang et al.,
    *Predicting Plasticity in Deep Continual Learning*, 2026).

    Higher is said to mean more plasticity. It is a statement about one step of plain SGD with
    minibatches of this size (`theory.expected_gain_bound`), and it changes with the unit of the
    loss. The authors draw minibatches; here the expectation is exact for the given examples, and
    takes no sampling: E ||g_m||^2 = ||g||^2 + V1 / m. So reliability is m / (m + B_simple). These
    two formulas are ours.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import gradient_moments, optimisation_readiness

    moments = gradient_moments(jnp.array([[2.0, 0.0], [0.0, 2.0]]))
    optimisation_readiness(moments, 1.0, minibatch_size=1).value  # 1
    ```

    **Arguments:**

    - `moments`: from `gradient_moments`, or from `layer_moments` for one layer.
    - `loss`: L, the mean loss of the same examples without penalties.
    - `minibatch_size`: m, that of training.
    - `replacement`: whether the examples of a minibatch are drawn with replacement. Without it the
        variance of their mean is V1 / m times (N - m) / (N - 1).

    **Returns:** a `Readiness`. All of it is 0 if the loss or the gradients of all examples are 0.

    **Raises:** `ValueError` if `minibatch_size` is not a positive integer, or if it is larger than
    the number of examples and `replacement` is false.
    """
    check_count("minibatch_size", minibatch_size)
    loss, count = jnp.asarray(loss, float), moments.num_examples
    factor = 1 / minibatch_size
    if not replacement:
        if minibatch_size > count:
            raise ValueError(
                f"`minibatch_size` is {minibatch_size}, but must be at most {count}, the number of "
                "examples, if they are drawn without replacement: pass more examples, or "
                "`replacement=True`."
            )
        factor *= (count - minibatch_size) / max(count - 1, 1)
    # In this form no square of a small gradient is alone.
    larger = jnp.maximum(moments.norm, moments.deviation)
    unit = jnp.where(larger > 0, larger, 1)
    norm, deviation = moments.norm / unit, moments.deviation / unit
    total = norm**2 + factor * deviation**2
    known = (loss != 0) & (total != 0)
    reliability = jnp.where(known, norm**2 / jnp.where(known, total, 1), 0)
    strength = jnp.where(known, moments.norm * (moments.norm / jnp.where(known, loss, 1)), 0)
    return Readiness(strength * reliability, strength, reliability)
