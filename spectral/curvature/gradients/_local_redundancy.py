"""Local redundancy: how strongly labels of the network's own would change it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..estimators.trace._exact_diagonal import ExactDiagonal
from ..operators._fisher import Fisher
from ..operators._output_factor import AbstractOutputFactor, EXACT
from ..risk._risk import Risk


def local_redundancy(
    risk: Risk, params: PyTree, *, factor: AbstractOutputFactor = EXACT
) -> Float[Array, ""]:
    """The mean squared norm of the gradients of single examples, for labels drawn from the network
    (Cheng, *Local Redundancy*, 2026).

    Higher is said to mean more plasticity. Each example is squared before the average, so the
    number does not depend on a batch size. Its expectation over the labels is the trace of the
    Fisher matrix (ours), which `factor=Exact()` gives without the noise of labels. For
    `SquaredError(scale=1 / (2 sigma**2))` this is tr(J J^T) / (N sigma^2).

    ```python
    import jax.numpy as jnp
    from spectral.curvature import local_redundancy, Risk, SquaredError

    risk = Risk(lambda w, x: x @ w, SquaredError(), jnp.array([[2.0]]), jnp.zeros((1, 1)))
    local_redundancy(risk, jnp.ones((1, 1)))  # 4
    ```

    **Arguments:**

    - `risk`, `params`: as for `Fisher`. The labels are not used.
    - `factor`: `Exact()` takes a gradient of all examples for each output of the network;
        `Sampled(key, num_samples=k)`, the published form, takes k.

    **Raises:** `ValueError` as `Fisher` does.
    """
    diagonal = ExactDiagonal()(Fisher(risk, params, factor=factor), key=jax.random.key(0)).value
    return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(diagonal)), start=jnp.zeros(()))
