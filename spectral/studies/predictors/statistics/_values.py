"""The shape of what is compared."""

import numpy as np
from jaxtyping import Float


Values = Float[np.ndarray, "algorithms seeds checkpoints"]
