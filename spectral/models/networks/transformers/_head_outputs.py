"""What each head of attention adds to the residual stream, computed from the taps."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._attention_weights import check_taps
from ._transformer import AbstractTransformer


def head_outputs(
    model: AbstractTransformer, taps: dict[str, Float[Array, "examples ..."]]
) -> dict[str, Float[Array, "examples heads tokens width"]]:
    """Returns what each head adds to the residual stream in each block, from the taps of a batch.

    It is the output of the head times its columns of the output projection. The sum over heads,
    plus the bias of the projection, is what attention adds to the stream. The keys are `block_0`,
    ...

    ```python
    import equinox as eqx

    sizes = {"width": 8, "depth": 1, "num_heads": 2}
    model = eqx.filter_eval_shape(GPT, 5, 4, **sizes, key=jax.random.key(0))  # no weights
    taps = {"block_0_heads": jax.ShapeDtypeStruct((6, 8, 3), float)}
    eqx.filter_eval_shape(head_outputs, model, taps)["block_0"]   # [6, 2, 3, 8]
    ```

    **Raises:** `TypeError` if the model is not a `GPT` or `ViT`, `ValueError` if the taps lack the
    heads of a block.
    """
    check_taps(model, taps, ("heads",))
    found = {}
    for i, block in enumerate(model.blocks):
        heads, matrix = taps[f"block_{i}_heads"], block.attention.output_proj.weight
        num = block.attention.num_heads
        apart = heads.reshape(heads.shape[0], num, -1, heads.shape[2])
        columns = matrix.reshape(matrix.shape[0], num, -1)
        found[f"block_{i}"] = jnp.einsum("nhdt,whd->nhtw", apart, columns)
    return found
