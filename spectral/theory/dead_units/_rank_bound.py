"""Theorem 6.2: dead units bound the rank of the Hessian."""

from collections.abc import Mapping, Sequence

import equinox as eqx
from jaxtyping import Array, Bool, Float

from ..._arguments import check_count
from ...models import apply_network, dead, DescribesUnits, pre_activations
from .._base._hypotheses import check_examples, check_no_kink, check_relu_network
from ._zero_rows import num_marked, num_parameters, num_zero_rows


def hessian_rank_bound(
    model: DescribesUnits, inputs: Float[Array, "examples ..."], *, as_computed: bool = False
) -> int:
    """Returns an upper bound on the rank of the Hessian of a ReLU network from its dead units
    (Theorem 6.2, generalised to deep and convolutional networks).

    The bound is the number of parameters minus the number of those that enter or leave a unit that
    is dead on `inputs`, each counted once. The rows of the Hessian for these parameters are exactly
    zero for any loss of the outputs and any labels. For the two-layer network of the paper with k
    dead units the bound is P - k(I + O + 1). A channel of a convolution is dead if it is 0 at every
    position.

    Two more kinds of rows are zero. If all units of a layer are dead, the outputs do not depend on
    any parameter before it. If an input, or a channel of the images, is 0 in every example, its
    weights have no effect (counted for `MLP`, `ConvNet` and `ActorCritic`).

    The bound does not count units that are only dormant. It is about the loss without a penalty:
    (w/2) ||theta||^2 puts w on the diagonal of every zero row, and the Hessian of the penalised
    loss has the rank P unless -w is an eigenvalue of H.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import hessian_rank_bound

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (10, 3))
    hessian_rank_bound(model, inputs)  # at most 50
    ```

    **Arguments:**

    - `as_computed`: bound the rank of the Hessian that JAX computes, with relu'(0) = 0, instead of
        the exact one. A pre-activation of exactly 0, where the exact Hessian does not exist, then
        counts as inactive. Pruned units, units without connections in sparse layers, and zero
        biases with blank inputs have such pre-activations.

    **Raises:** `ValueError` naming the hypothesis that fails: activations other than ReLU,
    normalisation, units without their own outgoing weights, no examples, or a pre-activation of
    exactly 0, unless `as_computed`.
    """
    statement = "Theorem 6.2"
    check_relu_network(statement, model)
    check_examples(statement, inputs)
    pre, silent = _activity(model, inputs)
    if not as_computed:
        check_no_kink(statement, pre)
    return num_parameters(model) - num_zero_rows(model, silent, inputs=inputs)


def dead_parameters(model: DescribesUnits, marked: Mapping[str, Bool[Array, " units"]]) -> int:
    """Returns how many parameters enter or leave the marked units, each counted once.

    For dense layers of sizes n_0, ..., n_L with k_l marked units this is the sum of
    k_l (n_(l-1) + 1 + n_(l+1)) minus the sum of k_l k_(l+1), because a weight between two dead
    units has one row in the Hessian, not two.

    **Arguments:**

    - `marked`: a Boolean for each unit of a layer, by the name of its tap.

    **Raises:** `KeyError` if no layer has the given name.
    """
    return num_marked(model, marked)


def dense_rank_bound(
    sizes: Sequence[int], dead_units: Sequence[int], *, dead_inputs: int = 0
) -> int:
    """Returns the bound of `hessian_rank_bound` for dense layers from their sizes and the numbers
    of their dead units.

    P - sum_l k_l (n_(l-1) + 1 + n_(l+1)) - k_0 n_1 + sum_l k_l k_(l+1), with P the number of
    parameters, n_0 inputs and k_0 dead ones. All inputs and units before a layer of dead units
    count as dead.

    ```python
    dense_rank_bound((3, 8, 2), (2,))  # 50 - 2 (3 + 2 + 1) = 38
    dense_rank_bound((3, 8, 2), (2,), dead_inputs=1)  # 38 - (8 - 2) = 32
    dense_rank_bound((3, 8, 2), (8,))  # 2, the biases of the outputs
    ```

    **Arguments:**

    - `sizes`: the number of inputs, of units in each hidden layer, and of outputs.
    - `dead_units`: k_l for each hidden layer.
    - `dead_inputs`: k_0, how many inputs are 0 in every example.

    **Raises:** `ValueError` if a size is below 1, or if `dead_units` or `dead_inputs` does not fit
    `sizes`.
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
    check_count("dead_inputs", dead_inputs, minimum=0)
    if dead_inputs > sizes[0]:
        raise ValueError(
            f"`dead_inputs` is {dead_inputs}, but there are {sizes[0]} inputs: count those that "
            "are 0 in every example."
        )
    whole = [n for n, layer in enumerate(hidden, start=1) if dead_units[n - 1] == layer]
    last = whole[-1] if whole else 0
    counts = [*sizes[:last], *[dead_inputs, *dead_units][last:], 0]
    # A weight has an effect if neither of the units that it connects counts as dead.
    living = [size - count for size, count in zip(sizes, counts, strict=True)]
    return sum(n * (m + 1) for m, n in zip(living[:-1], living[1:], strict=True))


@eqx.filter_jit
def _activity(
    model: DescribesUnits, inputs: Float[Array, "examples ..."]
) -> tuple[dict[str, Array], dict[str, Bool[Array, " units"]]]:
    """The pre-activations of each layer, and which units are dead."""
    taps = apply_network(model, None, inputs, inference=True)[1].taps
    return pre_activations(model, inputs), {name: dead(taps[name]) for name in taps}
