"""The parts of a transformer, by the paths of its layers."""

import re

import equinox as eqx


class TransformerParts(eqx.Module):
    """Groups the layers of a `GPT` or a `ViT`: a function from the path of a layer to its group.

    The groups are `block_0_attention`, `block_0_mlp`, ... of each block; `norms`, all of the
    network; `embedding`, whatever makes the first residual stream of the inputs, with the positions
    and the class token; and `head`, which a `GPT` with a tied embedding does not have. The paths
    are those of `spectral.curvature.layer_blocks`. Any other path is a group of its own.

    ```python
    parts = TransformerParts()
    parts("blocks.1.attention.query_proj"), parts("patches")   # block_1_attention, embedding
    ```
    """

    def __call__(self, path: str) -> str:
        if path.endswith("norm"):
            return "norms"
        if path in ("embedding", "patches", "class_token", "positions"):
            return "embedding"
        inner = re.match(r"blocks\.(\d+)\.(attention|mlp)\.", path)
        return f"block_{inner[1]}_{inner[2]}" if inner else path
