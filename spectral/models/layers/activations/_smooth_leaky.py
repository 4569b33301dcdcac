"""A leaky ReLU without a kink."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from ...._arguments import check_above, check_fraction
from ._activation import Elementwise


def smooth_leaky(*, slope: float = 0.1, steepness: float = 5 / 3) -> Elementwise:
    """The activation slope x + (1 - slope) x sigmoid(steepness x).

    Lillo and Cheney, *Activation Function Design Sustains Plasticity in Continual Learning* (2025),
    in its fixed form. They write steepness = c / p and show slope 0.1 with p = 3 and c = 5, the
    defaults here; values for each benchmark are not known to us. Slope 1 gives the identity, slope
    0 with steepness 1 gives SiLU, and a large steepness gives leaky ReLU.

    `slope` is not the smallest derivative. That is slope - 0.0998 (1 - slope), at
    steepness x = -2.399, so the function is monotone only for slope > 0.0908. The largest
    derivative is slope + 1.0998 (1 - slope), which exceeds 1.

    ```python
    smooth_leaky()(jnp.array([-1.0, 1.0]))   # [-0.243, 0.857]
    ```

    **Raises:** `ValueError` for a slope outside [0, 1] or a steepness that is not positive.
    """
    check_fraction("slope", slope)
    check_above("steepness", steepness, 0)
    return Elementwise(_SmoothLeaky(float(slope), float(steepness)))


@dataclass(frozen=True)
class _SmoothLeaky:
    """The function. Equal numbers make equal functions, so a second one compiles nothing."""

    slope: float
    steepness: float

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.slope * x + (1 - self.slope) * x * jax.nn.sigmoid(self.steepness * x)
