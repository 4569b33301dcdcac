"""The type of a scalar argument."""

import numpy as np
from jaxtyping import Array, Float


Number = float | np.floating | Float[Array, ""]
