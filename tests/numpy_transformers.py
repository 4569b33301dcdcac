"""The transformers of the library, written again in NumPy with a loop over heads and tokens."""

import math
from typing import Any

import equinox as eqx
import jax
import numpy as np

from spectral import models


def _linear(layer, x):
    x = x @ np.asarray(layer.weight).T
    return x if layer.bias is None else x + np.asarray(layer.bias)


def _norm(layer, x):
    if isinstance(layer, eqx.nn.LayerNorm):
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + layer.eps) * np.asarray(layer.weight)
    return x if layer.bias is None else x + np.asarray(layer.bias)


def _rotated(x, base):
    """Pairs of channels as complex numbers, turned by their angles."""
    half = x.shape[1] // 2
    angles = np.arange(len(x))[:, None] * base ** (-2 * np.arange(half) / x.shape[1])
    turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=1)


def _attention(layer, x, base):
    group = layer.num_heads // layer.num_kv_heads
    query, key, value = (
        _linear(p, x) for p in (layer.query_proj, layer.key_proj, layer.value_proj)
    )
    width = query.shape[1] // layer.num_heads
    heads, weights = np.zeros_like(query), np.zeros((layer.num_heads, len(x), len(x)))
    for h in range(layer.num_heads):
        own, shared = (slice(i * width, (i + 1) * width) for i in (h, h // group))
        q, k = query[:, own], key[:, shared]
        if layer.query_norm is not None:
            q, k = _norm(layer.query_norm, q), _norm(layer.key_norm, k)
        if base is not None:
            q, k = _rotated(q, base), _rotated(k, base)
        for t in range(len(x)):
            last = t + 1 if layer.causal else len(x)
            grown = np.exp(k[:last] @ q[t] / math.sqrt(width))
            weights[h, t, :last] = grown / grown.sum()
        heads[:, own] = weights[h] @ value[:, shared]
    taps = {"query": query, "key": key, "value": value, "heads": heads}
    return _linear(layer.output_proj, heads), taps, weights


_FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "_tanh_gelu": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "_exact_gelu": lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
}


def _feed_forward(layer, x):
    function = _FUNCTIONS[layer.activation.function.__name__]
    up = _linear(layer.up, x)
    hidden = function(up) if layer.gate is None else function(_linear(layer.gate, x)) * up
    return _linear(layer.down, hidden), hidden


def numpy_transformer(model, x):
    """Outputs, taps and weights of attention for one sequence of tokens, or one image."""
    if isinstance(model, models.GPT):
        stream = np.asarray(model.embedding.weight)[x]
    else:
        size = model.patch_size
        rows, columns = (range(0, n, size) for n in x.shape[1:])
        patches = [x[:, i : i + size, j : j + size].ravel() for i in rows for j in columns]
        stream = _linear(model.patches, np.stack(patches))
        if model.class_token is not None:
            stream = np.concatenate([np.asarray(model.class_token), stream])
    positions: Any = model.positions
    base = getattr(positions, "base", None)
    if base is None:
        stream = stream + np.asarray(positions.weight)[: len(stream)]
    taps, weights = {"embedding": stream}, {}
    for i, block in enumerate(model.blocks):
        name = f"block_{i}"
        out, inner, weights[name] = _attention(
            block.attention, _norm(block.attention_norm, stream), base
        )
        stream = stream + out
        out, inner["mlp"] = _feed_forward(block.mlp, _norm(block.mlp_norm, stream))
        stream = stream + out
        taps |= {f"{name}_{part}": tap for part, tap in inner.items()} | {name: stream}
    features = _norm(model.norm, stream)
    if isinstance(model, models.ViT):
        features = features[0] if model.class_token is not None else features.mean(0)
        outputs = _linear(model.head, features)
    else:
        head = model.embedding if model.head is None else model.head
        outputs = features @ np.asarray(head.weight).T
    return outputs, jax.tree.map(np.transpose, taps | {"features": features}), weights
