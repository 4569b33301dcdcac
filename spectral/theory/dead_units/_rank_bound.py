"""Theorem 6.2: dead units bound the rank of the Hessian."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..._arguments import check_count
from ...models import apply_network, dead, DescribesUnits, entries_of, pre_activations
from .._base._hypotheses import check_examples, check_no_kink, check_relu_network


def hessian_rank_bound(model: DescribesUnits, inputs: Float[Array, "examples ..."]) -> int:
    """Returns an upper bound on the rank of the Hessian of a ReLU network from its dead units
    (Theorem 6.2, generalised to deep and convolutional networks).

    The bound is the number of parameters minus the number of those that enter or leave a unit that
    is dead on `inputs`, each counted once. The rows of the Hessian for these parameters are exactly
    zero for any loss of the outputs and any labels. For the two-layer network of the paper with k
    dead units the bound is P - k(I + O + 1). A channel of a convolution is dead if it is 0 at every
    position.

    The bound does not count units that are only dormant.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import hessian_rank_bound

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (10, 3))
    hessian_rank_bound(model, inputs)  # at most 50
    ```

    **Raises:** `ValueError` naming the hypothesis that fails: activations other than ReLU,
    normalisation, units without their own outgoing weights, no examples, or a pre-activation of
    exactly 0.
    """
    statement = "Theorem 6.2"
    check_relu_network(statement, model)
    check_examples(statement, inputs)
    pre, silent = _activity(model, inputs)
    check_no_kink(statement, pre)
    return _parameters(model) - dead_parameters(model, silent)


def dead_parameters(model: DescribesUnits, marked: Mapping[str, Bool[Array, " units"]]) -> int:
    """Returns how many parameters enter or leave the marked units, each counted once.

    For dense layers of sizes n_0, ..., n_L with k_l marked units this is the sum of
    k_l (n_(l-1) + 1 + n_(l+1)) minus the sum of k_l k_(l+1), because a weight between two dead
    units has one row in the Hessian, not two.

    **Arguments:**

    - `marked`: a Boolean for each unit of a layer, by the name of its tap.

    **Raises:** `KeyError` if no layer has the given name.
    """
    return int(_count(model, dict(marked)))


def dense_rank_bound(sizes: Sequence[int], dead_units: Sequence[int]) -> int:
    """Returns the bound of `hessian_rank_bound` for dense layers from their sizes and the numbers
    of their dead units.

    P - sum_l k_l (n_(l-1) + 1 + n_(l+1)) + sum_l k_l k_(l+1), with P the number of parameters.

    ```python
    dense_rank_bound((3, 8, 2), (2,))  # 50 - 2 (3 + 2 + 1) = 38
    ```

    **Arguments:**

    - `sizes`: the number of inputs, of units in each hidden layer, and of outputs.
    - `dead_units`: k_l for each hidden layer.

    **Raises:** `ValueError` if a size is below 1 or `dead_units` does not fit `sizes`.
    """
    for size in sizes:
        check_count("sizes", size)
    hidden = list(sizes[1:-1])
    fits = len(dead_units) == len(hidden) and len(sizes) >= 2
    if not fits or not all(0 <= k <= n for k, n in zip(dead_units, hidden, strict=True)):
        raise ValueError(
            f"`dead_units` is {tuple(dead_units)} for hidden layers of {hidden} units, but must "
            "hold a number from 0 to its size for each layer: count them with `models.dead`."
        )
    bound = sum(n * (m + 1) for m, n in zip(sizes[:-1], sizes[1:], strict=True))
    for k, before, after in zip(dead_units, sizes[:-2], sizes[2:], strict=True):
        bound -= k * (before + 1 + after)
    return bound + sum(a * b for a, b in zip(dead_units[:-1], dead_units[1:], strict=True))


def most_dead_units(model: DescribesUnits, rank: int) -> dict[str, int]:
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

    A computed rank depends on a threshold for what counts as zero. An eps-rank is at most the rank,
    so it gives a larger and still valid bound.

    **Raises:** `ValueError` as `hessian_rank_bound`, and if `rank` is outside [0, P].
    """
    check_relu_network("Theorem 6.2", model)
    whole = _parameters(model)
    check_count("rank", rank, minimum=0)
    if rank > whole:
        raise ValueError(
            f"`rank` is {rank}, but the Hessian of `model` has {whole} rows: pass a rank of at "
            f"most {whole}."
        )
    result = {}
    for group in model.units():
        one = dead_parameters(model, {group.name: jnp.asarray(np.arange(group.size) == 0)})
        result[group.name] = min((whole - int(rank)) // one, group.size)
    return result


def _parameters(model: DescribesUnits) -> int:
    return sum(p.size for p in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


@eqx.filter_jit
def _activity(
    model: DescribesUnits, inputs: Float[Array, "examples ..."]
) -> tuple[dict[str, Array], dict[str, Bool[Array, " units"]]]:
    """The pre-activations of each layer, and which units are dead."""
    taps = apply_network(model, None, inputs, inference=True)[1].taps
    return pre_activations(model, inputs), {name: dead(taps[name]) for name in taps}


@eqx.filter_jit
def _count(model: DescribesUnits, marked: dict[str, Bool[Array, " units"]]) -> Int[Array, ""]:
    groups = {group.name: group for group in model.units()}
    zero = lambda p: jnp.zeros(p.shape, bool)
    marks = jax.tree.map(zero, eqx.filter(model, eqx.is_inexact_array))
    for name, units in marked.items():
        marks = jax.tree.map(jnp.logical_or, marks, entries_of(model, groups[name], units))
    return jnp.asarray(sum(jnp.sum(m) for m in jax.tree.leaves(marks)))
