"""Small GPTs and a ViT, their risks, and a forward pass in which the outputs of each layer can be
moved, so that derivatives in them are those of the whole network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from signals import drawn

from spectral import models
from spectral.curvature import Risk, SoftmaxCrossEntropy
from spectral.models.layers.attention._attention import attention_softmax


IGNORE = -100
SIZES: Any = {"width": 4, "depth": 2, "num_heads": 2, "mlp_width": 3}
MODERN: Any = SIZES | {"num_kv_heads": 1, "activation": models.swiglu()}
ROTARY: Any = {"norm": models.rms_norm, "qk_norm": True, "positions": models.RotaryPositions()}


def make_gpt(**options):
    return lambda key: models.GPT(5, 3, **options, key=key)


NETWORKS = {
    "gpt_tied": make_gpt(**MODERN),
    "gpt": make_gpt(**MODERN, **ROTARY, tied=False, use_bias=False),
    "vit": lambda key: models.ViT((1, 4, 2), 3, 2, **SIZES, key=key),
}


def forward(model, inputs):
    return jax.vmap(lambda x: model(x)[0])(inputs)


def problem(name: str) -> tuple[Risk, Any]:
    """The risk of a network on three examples, and the network."""
    rng = np.random.default_rng(0)
    if name == "vit":
        inputs, labels = rng.normal(size=(3, 1, 4, 2)), rng.integers(0, 3, 3)
    else:
        inputs, labels = rng.integers(0, 5, (2, 3, 3))
        labels[0, 0] = labels[1, 1] = labels[1, 2] = IGNORE
    loss = SoftmaxCrossEntropy(ignore_label=IGNORE)
    risk = Risk(forward, loss, jnp.asarray(inputs), jnp.asarray(labels), batch_size=2)
    return risk, drawn(NETWORKS[name])


def moved(model, x, moves):
    """The outputs `[positions, classes]` for one example if `moves` are added to the outputs of the
    layers of the same names, and what each of these layers reads. A layer without a move has 0."""
    seen = {}

    def apply(name, layer, x):
        seen[name] = x
        y = x @ layer.weight.T + moves.get(name, 0)
        return y if layer.bias is None else y + layer.bias[None]

    if isinstance(model, models.GPT):
        seen["embedding"] = jax.nn.one_hot(x, model.embedding.weight.shape[0], dtype=float)
        x = model.embedding.weight[x] + moves.get("embedding", 0)
    else:
        size = model.patch_size
        patches = x.reshape(x.shape[0], x.shape[1] // size, size, -1, size)
        patches = patches.transpose(1, 3, 0, 2, 4).reshape(-1, x.shape[0] * size**2)
        x = jnp.concatenate([model.class_token, apply("patches", model.patches, patches)])
    x = model.positions.added(x)
    for i, block in enumerate(model.blocks):
        attention, mlp = block.attention, block.mlp
        y = jax.vmap(block.attention_norm)(x)
        q, k, v = (
            apply(f"blocks.{i}.attention.{n}", getattr(attention, n), y)
            for n in ("query_proj", "key_proj", "value_proj")
        )
        weights = attention_softmax(attention.logits(q, k, model.positions))
        group = attention.num_heads // attention.num_kv_heads
        values = jnp.repeat(v.reshape(len(x), attention.num_kv_heads, -1), group, axis=1)
        heads = jnp.einsum("hts,shd->thd", weights, values).reshape(len(x), -1)
        x = x + apply(f"blocks.{i}.attention.output_proj", attention.output_proj, heads)
        y = jax.vmap(block.mlp_norm)(x)
        hidden = apply(f"blocks.{i}.mlp.up", mlp.up, y)
        if mlp.gate is None:
            hidden = mlp.activation(hidden)
        else:
            hidden = mlp.activation(apply(f"blocks.{i}.mlp.gate", mlp.gate, y)) * hidden
        x = x + apply(f"blocks.{i}.mlp.down", mlp.down, hidden)
    x = jax.vmap(model.norm)(x)
    if isinstance(model, models.ViT):
        return apply("head", model.head, x[:1]), seen
    if model.head is not None:
        return apply("head", model.head, x), seen
    seen["head"] = x
    return x @ model.embedding.weight.T + moves.get("head", 0), seen
