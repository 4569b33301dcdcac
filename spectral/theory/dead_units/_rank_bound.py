"""Theorem 6.2: dead units bound the rank of the Hessian."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._arguments import check_count
from ...models import apply_network, dead, DescribesUnits, entries_of, pre_activations
from .._base._hypotheses import check_examples, check_no_kink, check_relu_network


def hessian_rank_bound(model: DescribesUnits, inputs: Float[Array, "examples ..."]) -> int:
    """An upper bound on the rank of the Hessian of any loss of a ReLU network, from its dead units
    (Theorem 6.2, and its generalisation to deep and convolutional networks).

    The number of parameters less those that enter or leave a unit that is dead on `inputs`, each
    counted once. The rows of the Hessian that belong to these are exactly zero, whatever the loss
    of the outputs and the labels are. For the two-layer network of the paper, with k dead units,
    this is P - k(I + O + 1). A channel of a convolution is dead if it is so at every position.

    It says nothing of units that are merely dormant.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import hessian_rank_bound

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (10, 3))
    hessian_rank_bound(model, inputs)  # at most 50
    ```

    **Raises:** `ValueError` naming the hypothesis that fails: other activations than ReLU,
    normalisation, units without outgoing weights of their own, no examples, or a pre-activation of
    exactly 0.
    """
    statement = "Theorem 6.2"
    check_relu_network(statement, model)
    check_examples(statement, inputs)
    pre, silent = _activity(model, inputs)
    check_no_kink(statement, pre)
    return _parameters(model) - dead_parameters(model, silent)


def dead_parameters(model: DescribesUnits, marked: Mapping[str, Bool[Array, " units"]]) -> int:
    """How many parameters enter or leave the marked units, each counted once.

    **Arguments:**

    - `marked`: by the names of the taps, Booleans for the units of the layer.

    For dense layers of sizes n_0, ..., n_L with k_l marked units this is the sum of
    k_l (n_(l-1) + 1 + n_(l+1)) less the sum of k_l k_(l+1): a weight between two dead units has one
    row in the Hessian, not two.

    **Raises:** `KeyError` for the name of a layer that does not exist.
    """
    return int(_count(model, dict(marked)))


def dense_rank_bound(sizes: Sequence[int], dead_units: Sequence[int]) -> int:
    """The bound of `hessian_rank_bound` for dense layers, from numbers alone.

    P - sum_l k_l (n_(l-1) + 1 + n_(l+1)) + sum_l k_l k_(l+1), with P the number of parameters.

    ```python
    dense_rank_bound((3, 8, 2), (2,))  # 50 - 2 (3 + 2 + 1) = 38
    ```

    **Arguments:**

    - `sizes`: n_0 inputs, the units of each hidden layer, n_L outputs.
    - `dead_units`: k_l for each hidden layer.

    **Raises:** `ValueError` for sizes below one, or numbers of dead units that do not fit them.
    """
    for size in sizes:
        check_count("sizes", size)
    hidden = list(sizes[1:-1])
    fits = len(dead_units) == len(hidden) and len(sizes) >= 2
    if not fits or not all(0 <= k <= n for k, n in zip(dead_units, hidden, strict=True)):
        raise ValueError(
            f"`dead_units` is {tuple(dead_units)} for hidden layers of {hidden} units, but must "
            "hold one number for each, from 0 to their size: count them with `models.dead`."
        )
    bound = sum(n * (m + 1) for m, n in zip(sizes[:-1], sizes[1:], strict=True))
    for k, before, after in zip(dead_units, sizes[:-2], sizes[2:], strict=True):
        bound -= k * (before + 1 + after)
    return bound + sum(a * b for a, b in zip(dead_units[:-1], dead_units[1:], strict=True))


def most_dead_units(model: DescribesUnits, rank: int) -> dict[str, int]:
    """The largest number of dead units in each layer with which the Hessian can have this rank.

    With a measured rank these are upper bounds on the dead units of the network (the contrapositive
    of Theorem 6.2); with the threshold rho of a task they are m, the most dead units with which the
    network can be tau-trainable: (P - rho) / (I + O + 1) in the two-layer network, rounded down.
    In a deep network each layer is bounded by itself, as if the others had no dead units.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import most_dead_units

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    most_dead_units(model, 30)  # {"hidden_0": 3}: (50 - 30) / 6
    ```

    A rank that was computed needs a threshold for what counts as zero, and an eps-rank is less than
    the rank: with it in the place of the rank the bound is larger, and still true.

    **Raises:** `ValueError` as `hessian_rank_bound`, and for a rank outside [0, P].
    """
    check_relu_network("Theorem 6.2", model)
    whole = _parameters(model)
    check_count("rank", rank, minimum=0)
    if rank > whole:
        raise ValueError(
            f"`rank` is {rank}, but the Hessian of `model` has {whole} rows: pass a rank of at "
            "most as many."
        )
    result = {}
    for group in model.units():
        one = dead_parameters(model, {group.name: jnp.arange(group.size) == 0})
        result[group.name] = min((whole - int(rank)) // one, group.size)
    return result


def _parameters(model: DescribesUnits) -> int:
    return sum(p.size for p in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


@eqx.filter_jit
def _activity(
    model: DescribesUnits, inputs: Float[Array, "examples ..."]
) -> tuple[dict[str, Array], dict[str, Bool[Array, " units"]]]:
    """Pre-activations, and which units are dead."""
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
