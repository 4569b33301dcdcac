"""A transformer in Flax Linen: the eigenvalues of the curvature of each part."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from spectral import curvature as c


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        mask = nn.make_causal_mask(jnp.ones(x.shape[:2]))
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x), mask=mask)
        return x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(6, 8)(tokens) + nn.Embed(4, 8)(jnp.arange(4))[None]
        return nn.Dense(6)(nn.LayerNorm()(Block()(x)))


model = Transformer()
tokens = jax.random.randint(jax.random.key(1), (8, 5), 0, 6)
params = model.init(jax.random.key(0), tokens[:, :-1])["params"]
forward = lambda params, tokens: model.apply({"params": params}, tokens)
risk = c.Risk(forward, c.SoftmaxCrossEntropy(), tokens[:, :-1], tokens[:, 1:])
gauss_newton, start = c.GaussNewton(risk, params), 0
matrix = np.asarray(gauss_newton.dense())
for name, block in c.layer_blocks(gauss_newton).items():
    values = np.linalg.eigvalsh(matrix[start : start + block.dim, start : start + block.dim])
    print(f"{name:48} {block.dim:4} eigenvalues, {(values > 0.1).sum():3} beyond 0.1")
    start += block.dim
