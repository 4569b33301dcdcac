"""The contrapositive of Theorem 6.2: a rank bounds the number of dead units."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Real

from ...curvature import RankEstimate
from ...models import DescribesUnits
from .._base._hypotheses import check_relu_network
from ._zero_rows import num_marked, num_parameters, num_zero_rows


def most_dead_units(
    model: DescribesUnits, rank: Real[ArrayLike, ""] | RankEstimate
) -> dict[str, int]:
    """Returns the largest number of dead units in each layer with which the Hessian can have this
    rank.

    For a measured rank these are upper bounds on the dead units of the network (the contrapositive
    of Theorem 6.2). For the threshold rho of a task they are m, the largest number of dead units
    with which the network can be tau-trainable: (P - rho) / (I + O + 1) in the two-layer network,
    rounded down. In a deep network each layer is bounded as if the others had no dead units.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import most_dead_units

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    most_dead_units(model, 30)  # {"hidden_0": 3}: (50 - 30) / 6
    ```

    **Arguments:**

    - `rank`: a number from 0 to P, or the result of `epsilon_rank`, of which the `lower` bound is
        used. Both are rounded down, because a smaller rank gives a larger and still valid bound. An
        eps-rank is at most the rank, so it is valid for any epsilon that is above rounding. `lower`
        is a bound for an exact spectrum (`GramEigh`, `Dense`). With random vectors it has the
        standard error `sem`. Pass counts, and not the fractions of `normalised_epsilon_rank`.

    **Raises:** `ValueError` as `hessian_rank_bound`, and if `rank` is outside [0, P].
    """
    check_relu_network("Theorem 6.2", model)
    whole = num_parameters(model)
    found = _lower(rank)
    if not 0 <= found <= whole:
        raise ValueError(
            f"`rank` is {rank}, but the Hessian of `model` has {whole} rows: pass a rank "
            f"of at least 0 and at most {whole}."
        )
    result = {}
    for group in model.units():
        units = np.arange(group.size)
        one = num_marked(model, {group.name: jnp.asarray(units == 0)})
        most = min((whole - found) // one, group.size)
        # A layer of dead units also hides the layers before it.
        everything = num_zero_rows(model, {group.name: jnp.asarray(units >= 0)})
        result[group.name] = most - (most == group.size and found > whole - everything)
    return result


def _lower(rank: Real[ArrayLike, ""] | RankEstimate) -> int:
    number = float(np.asarray(rank.lower if isinstance(rank, RankEstimate) else rank))
    return math.floor(number) if math.isfinite(number) else -1
