"""A small network on tokens: each position sees its own token."""

import equinox as eqx
import jax

from spectral.models import AbstractNetwork, Entries, UnitGroup


class TokenNetwork(AbstractNetwork):
    embedding: eqx.nn.Embedding
    hidden: eqx.nn.Linear
    head: eqx.nn.Linear
    context: int = eqx.field(static=True)
    vocabulary_size: int = eqx.field(static=True)
    width: int = eqx.field(static=True)

    def __init__(self, vocabulary_size: int, context: int, *, width: int = 4, key: jax.Array):
        a, b, c = jax.random.split(key, 3)
        self.embedding = eqx.nn.Embedding(vocabulary_size, 3, key=a)
        self.hidden = eqx.nn.Linear(3, width, key=b)
        self.head = eqx.nn.Linear(width, vocabulary_size, key=c)
        self.context, self.vocabulary_size, self.width = context, vocabulary_size, width

    def __call__(self, tokens):
        h = jax.nn.relu(jax.vmap(self.hidden)(jax.vmap(self.embedding)(tokens)))
        # Algorithms that act on vectors of features take the mean.
        return jax.vmap(self.head)(h), {"hidden": h.T, "mean": h.mean(axis=0)}

    def units(self):
        draw = jax.nn.initializers.he_uniform(in_axis=1, out_axis=0)
        weights, out = Entries(lambda m: m.hidden.weight, 0), Entries(lambda m: m.head.weight, 1)
        bias = Entries(lambda m: m.hidden.bias, 0)
        return (UnitGroup("hidden", self.width, (weights,), (bias,), (out,), draw),)

    def fresh(self, *, key):
        return TokenNetwork(self.vocabulary_size, self.context, width=self.width, key=key)
