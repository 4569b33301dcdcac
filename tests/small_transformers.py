"""Small transformers that are made of layers of Equinox, and their risks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from layered_networks import drawn

from spectral.curvature import Risk, SoftmaxCrossEntropy


TOKENS, LENGTH, WIDTH, CLASSES = 5, 3, 4, 3
IGNORE = -100


class Block(eqx.Module):
    """A pre-norm block. `unrolled` calls each layer once for each position, in a Python loop."""

    norm1: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    norm2: eqx.nn.RMSNorm
    rise: eqx.nn.Linear
    fall: eqx.nn.Linear
    causal: bool = eqx.field(static=True)
    unrolled: bool = eqx.field(static=True)

    def __init__(self, *, causal, unrolled=False, key):
        keys = jax.random.split(key, 3)
        self.norm1, self.norm2 = eqx.nn.LayerNorm(WIDTH), eqx.nn.RMSNorm(WIDTH)
        biased = {"use_query_bias": True, "use_output_bias": True}
        self.attention = eqx.nn.MultiheadAttention(2, WIDTH, **biased, key=keys[0])
        self.rise = eqx.nn.Linear(WIDTH, 6, key=keys[1])
        self.fall = eqx.nn.Linear(6, WIDTH, use_bias=False, key=keys[2])
        self.causal, self.unrolled = causal, unrolled

    def __call__(self, x):
        map_over = one_by_one if self.unrolled else jax.vmap
        y = map_over(self.norm1)(x)
        x = x + (self._attended(y) if self.unrolled else self._attention(y))
        return x + map_over(lambda y: self.fall(jnp.tanh(self.rise(self.norm2(y)))))(x)

    def _attention(self, y):
        mask = jnp.tri(len(y), dtype=bool) if self.causal else None
        return self.attention(y, y, y, mask=mask)

    def _attended(self, y):
        heads = lambda proj: one_by_one(proj)(y).reshape(len(y), 2, -1)
        own = self.attention
        q, k, v = heads(own.query_proj), heads(own.key_proj), heads(own.value_proj)
        logits = jnp.einsum("shd,Shd->hsS", q, k) / (WIDTH // 2) ** 0.5
        if self.causal:
            logits = jnp.where(np.tril(np.ones((len(y), len(y)), bool))[None], logits, -np.inf)
        mixed = jnp.einsum("hsS,Shd->shd", jax.nn.softmax(logits), v).reshape(len(y), -1)
        return one_by_one(own.output_proj)(mixed)


def one_by_one(function):
    return lambda x: jnp.stack([function(row) for row in x])


class Decoder(eqx.Module):
    """Logits for the next token at each position; tied to the embedding without a head."""

    tokens: eqx.nn.Embedding
    positions: jax.Array
    blocks: tuple[Block, ...]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear | None
    unrolled: bool = eqx.field(static=True)

    def __init__(self, *, num_blocks=2, tied=False, unrolled=False, key):
        keys = jax.random.split(key, num_blocks + 3)
        self.tokens = eqx.nn.Embedding(TOKENS, WIDTH, key=keys[0])
        self.positions = jax.random.normal(keys[1], (LENGTH, WIDTH))
        options = {"causal": True, "unrolled": unrolled}
        self.blocks = tuple(Block(**options, key=key) for key in keys[3:])
        self.norm = eqx.nn.LayerNorm(WIDTH)
        self.head = None if tied else eqx.nn.Linear(WIDTH, TOKENS, key=keys[2])
        self.unrolled = unrolled

    def __call__(self, tokens):
        map_over = one_by_one if self.unrolled else jax.vmap
        x = map_over(self.tokens)(tokens) + self.positions
        for block in self.blocks:
            x = block(x)
        x = map_over(self.norm)(x)
        return x @ self.tokens.weight.T if self.head is None else map_over(self.head)(x)


class Encoder(eqx.Module):
    """Logits for a sequence of vectors, from a class token."""

    embedding: eqx.nn.Linear
    class_token: jax.Array
    positions: eqx.nn.Embedding
    blocks: tuple[Block, ...]
    head: eqx.nn.Linear

    def __init__(self, *, key):
        keys = jax.random.split(key, 6)
        self.embedding = eqx.nn.Linear(2, WIDTH, key=keys[0])
        self.class_token = jax.random.normal(keys[1], (WIDTH,))
        self.positions = eqx.nn.Embedding(LENGTH + 1, WIDTH, key=keys[2])
        self.blocks = tuple(Block(causal=False, key=key) for key in keys[3:5])
        self.head = eqx.nn.Linear(WIDTH, CLASSES, key=keys[5])

    def __call__(self, patches):
        x = jnp.concatenate([self.class_token[None], jax.vmap(self.embedding)(patches)])
        x = x + jax.vmap(self.positions)(jnp.arange(LENGTH + 1))
        for block in self.blocks:
            x = block(x)
        return self.head(x[0])


def forward(model, inputs):
    return jax.vmap(model)(inputs)


def decoder(*, num_blocks=2, tied=False, unrolled=False, ignore=True, batch_size=None):
    """A decoder and its risk on three sequences, in which some labels do not count."""
    rng = np.random.default_rng(0)
    options = {"num_blocks": num_blocks, "tied": tied, "unrolled": unrolled}
    model = drawn(lambda key: Decoder(**options, key=key), rng)
    tokens, labels = rng.integers(0, TOKENS, (2, 3, LENGTH))
    if ignore:
        labels[0, 0] = labels[1, 1] = labels[1, 2] = IGNORE
    loss = SoftmaxCrossEntropy(ignore_label=IGNORE)
    return _risk(loss, tokens, labels, batch_size), model


def encoder(*, batch_size=None):
    """An encoder and its risk on three sequences of vectors."""
    rng = np.random.default_rng(1)
    model = drawn(lambda key: Encoder(key=key), rng)
    patches = jnp.asarray(rng.normal(size=(3, LENGTH, 2)), float)
    return _risk(SoftmaxCrossEntropy(), patches, rng.integers(0, CLASSES, 3), batch_size), model


def _risk(loss: Any, inputs, targets, batch_size) -> Risk:
    inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)
    return Risk(forward, loss, inputs, targets, batch_size=batch_size)
