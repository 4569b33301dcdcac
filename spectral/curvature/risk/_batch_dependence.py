"""Whether the outputs of a network for one example depend on the other examples of its batch."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._arguments import check_above
from ..._base._precision import in_single


_EXAMPLES = 4  # of the batch


def check_batch_independent(
    forward: Callable[[PyTree, PyTree], PyTree],
    model: PyTree,
    inputs: PyTree[Array],
    *,
    tolerance: float = 0.01,
) -> None:
    """Checks that the outputs of an example do not depend on the other examples of its batch.

    They do in a network with BatchNorm in training mode. Its loss, and all curvature of it, then
    depend on how the examples are divided into batches. The check compares the outputs of each of
    four examples (or of all, if there are fewer) in one batch with its outputs alone.

    ```python
    import equinox as eqx
    import jax
    from spectral.curvature import check_batch_independent

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    keys = jax.random.split(jax.random.key(0))
    model = eqx.nn.MLP(3, 2, 4, 1, key=keys[0])
    check_batch_independent(forward, model, jax.random.normal(keys[1], (10, 3)))
    ```

    **Arguments:**

    - `forward`, `model`, `inputs`: as for `Risk`. The arrays are concrete, so this does not work
        for arguments of a function under `jax.jit`.
    - `tolerance`: the largest change of an output that counts as rounding, as a fraction of its
        largest value. The default allows for networks that compute in bfloat16.

    **Raises:** `ValueError` if the outputs change by more, or if `tolerance` is not positive.
    """
    check_above("tolerance", tolerance, 0)
    num_examples = jax.tree.leaves(inputs)[0].shape[0]
    if num_examples < 2:
        return
    # Examples far apart, because neighbours in a file may be equal.
    count = min(_EXAMPLES, num_examples)
    indices = np.linspace(0, num_examples - 1, count).astype(int)
    # The check also works where a compiled function closes over the arrays.
    with jax.ensure_compile_time_eval():
        few = jax.tree.map(lambda x: jnp.asarray(x)[indices], inputs)
        change = float(_change(forward, model, few))
    if change > tolerance:
        raise ValueError(
            f"`forward` gives outputs that depend on the other examples of a batch: they change by "
            f"{change:.1%} of the largest value between batches of {count} examples and of one "
            f"example, but may change by at most {tolerance:.1%}. Put BatchNorm into inference "
            "mode with `eqx.nn.inference_mode(model)`, so that it uses its running statistics, or "
            "pass `batch_dependent=True` if you mean a loss that belongs to this division into "
            "batches."
        )


@eqx.filter_jit
def _change(
    forward: Callable[[PyTree, PyTree], PyTree], model: PyTree, inputs: PyTree
) -> Float[Array, ""]:
    """The largest change of an output, as a fraction of its largest value."""
    forward, model, inputs = in_single((forward, model, inputs))
    with jax.default_matmul_precision("highest"):
        together = forward(model, inputs)
        # One after the other, so that `forward` is traced once for all of them.
        one = lambda x: forward(model, jax.tree.map(lambda leaf: leaf[None], x))
        alone = jax.lax.map(one, inputs)

    def change(a: Array, b: Array) -> Float[Array, ""]:
        a, b = in_single((a, b.reshape(a.shape)))
        # Of each output apart, because masked logits are far larger than others.
        largest = jnp.max(jnp.abs(a), axis=0, keepdims=True)
        return jnp.max(jnp.abs(a - b) / jnp.where(largest > 0, largest, 1))

    return jax.tree.reduce(jnp.maximum, jax.tree.map(change, together, alone))
