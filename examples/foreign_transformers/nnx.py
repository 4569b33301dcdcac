"""A transformer in Flax NNX: the eigenvalues of the curvature of each part."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spectral import curvature as c


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.tokens, self.positions = nnx.Embed(6, 8, rngs=rngs), nnx.Embed(4, 8, rngs=rngs)
        self.norm1, self.norm2 = nnx.LayerNorm(8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.rise, self.fall = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)
        self.head = nnx.Linear(8, 6, rngs=rngs)

    def __call__(self, tokens):
        x = self.tokens(tokens) + self.positions(jnp.arange(4))[None]
        mask = nnx.make_causal_mask(jnp.ones(tokens.shape))
        x = x + self.attention(self.norm1(x), mask=mask)
        return self.head(x + self.fall(nnx.gelu(self.rise(self.norm2(x)))))


definition, params, others = nnx.split(Transformer(nnx.Rngs(0)), nnx.Param, ...)
params = nnx.to_pure_dict(params)
forward = lambda params, tokens: nnx.merge(definition, params, others)(tokens)
tokens = jax.random.randint(jax.random.key(1), (8, 5), 0, 6)
risk = c.Risk(forward, c.SoftmaxCrossEntropy(), tokens[:, :-1], tokens[:, 1:])
gauss_newton, start = c.GaussNewton(risk, params), 0
matrix = np.asarray(gauss_newton.dense())
for name, block in c.layer_blocks(gauss_newton).items():
    values = np.linalg.eigvalsh(matrix[start : start + block.dim, start : start + block.dim])
    print(f"{name:18} {block.dim:4} eigenvalues, {(values > 0.1).sum():3} beyond 0.1")
    start += block.dim
