"""The logits and weights of attention, computed from the taps."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...layers.attention._attention import attention_softmax
from ._transformer import AbstractTransformer


_Taps = dict[str, Float[Array, "examples ..."]]


def attention_logits(
    model: AbstractTransformer, taps: _Taps
) -> dict[str, Float[Array, "examples heads tokens tokens"]]:
    """Returns the logits of attention of each block, from the taps of a batch.

    Row t of a matrix has the logits with which token t attends: the products of its query with all
    keys, divided by sqrt(head_width), after norms and rotations. They are -inf where a token must
    not attend. The keys are `block_0`, ...

    The network does not return these matrices, because training has no use for them. Here they cost
    one product of queries and keys.

    ```python
    import equinox as eqx

    sizes = {"width": 8, "depth": 1, "num_heads": 2}
    model = eqx.filter_eval_shape(GPT, 5, 4, **sizes, key=jax.random.key(0))  # no weights
    taps = {"block_0_query": jnp.ones((6, 8, 3)), "block_0_key": jnp.ones((6, 8, 3))}
    attention_logits(model, taps)["block_0"]   # [6, 2, 3, 3]
    ```

    **Raises:** `TypeError` if the model is not a `GPT` or `ViT`, `ValueError` if the taps lack the
    queries or keys of a block.
    """
    check_taps(model, taps, ("query", "key"))
    found = {}
    for i, block in enumerate(model.blocks):
        names = f"block_{i}_query", f"block_{i}_key"
        attention = block.attention
        query, keys = (jnp.swapaxes(taps[name], 1, 2) for name in names)
        logits = jax.vmap(attention.logits, in_axes=(0, 0, None))
        found[f"block_{i}"] = logits(query, keys, model.positions)
    return found


def attention_weights(
    model: AbstractTransformer, taps: _Taps
) -> dict[str, Float[Array, "examples heads tokens tokens"]]:
    """Returns the weights of attention of each block, from the taps of a batch.

    Row t of a matrix has the weights with which token t attends, which sum to 1, without dropout.
    The keys are `block_0`, ...

    ```python
    import equinox as eqx

    sizes = {"width": 8, "depth": 1, "num_heads": 2}
    model = eqx.filter_eval_shape(GPT, 5, 4, **sizes, key=jax.random.key(0))  # no weights
    taps = {"block_0_query": jnp.ones((6, 8, 3)), "block_0_key": jnp.ones((6, 8, 3))}
    attention_weights(model, taps)["block_0"]   # [6, 2, 3, 3]
    ```

    **Raises:** as `attention_logits`.
    """
    logits = attention_logits(model, taps)
    return {name: attention_softmax(values) for name, values in logits.items()}


def check_taps(model: Any, taps: _Taps, parts: tuple[str, ...]) -> None:
    """**Raises:** `TypeError` if the model is not a transformer of this library, `ValueError` if
    the taps lack a part of a block."""
    if not isinstance(model, AbstractTransformer):
        raise TypeError(
            f"`model` is a {type(model).__name__}, but attention is computed for transformers of "
            "this library: pass a `GPT` or a `ViT`."
        )
    for i in range(len(model.blocks)):
        for name in (f"block_{i}_{part}" for part in parts):
            if name not in taps:
                raise ValueError(
                    f"`taps` has no {name!r}, but only {sorted(taps)}: pass all taps that the "
                    "network returned."
                )
