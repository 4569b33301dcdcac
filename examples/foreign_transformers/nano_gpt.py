"""A GPT whose parameters are a plain dict: the eigenvalues of the curvature of each part."""

import jax
import jax.numpy as jnp
import numpy as np

from spectral import curvature as c


ATTENTION, MLP = {"qkv": (3, 8, 8), "out": (8, 8)}, {"rise": (8, 32), "fall": (32, 8)}
SHAPES = {"wte": (6, 8), "wpe": (4, 8), "h0": {"attention": ATTENTION, "mlp": MLP}}


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def forward(p, tokens):
    x = p["wte"][tokens] + p["wpe"]
    q, k, v = jnp.einsum("ntd,cde->cnte", norm(x), p["h0"]["attention"]["qkv"])
    logits = jnp.where(jnp.tri(4, dtype=bool), q @ k.swapaxes(1, 2) / 8**0.5, -jnp.inf)
    x = x + jax.nn.softmax(logits) @ v @ p["h0"]["attention"]["out"]
    x = x + jax.nn.gelu(norm(x) @ p["h0"]["mlp"]["rise"]) @ p["h0"]["mlp"]["fall"]
    return norm(x) @ p["wte"].T


leaves, tree = jax.tree.flatten(SHAPES, is_leaf=lambda shape: isinstance(shape, tuple))
keys = jax.random.split(jax.random.key(0), len(leaves))
params = tree.unflatten(0.3 * jax.random.normal(k, s) for k, s in zip(keys, leaves, strict=True))
tokens = jax.random.randint(jax.random.key(1), (8, 5), 0, 6)
risk = c.Risk(forward, c.SoftmaxCrossEntropy(), tokens[:, :-1], tokens[:, 1:])
gauss_newton, start = c.GaussNewton(risk, params), 0
matrix = np.asarray(gauss_newton.dense())
for name, block in c.layer_blocks(gauss_newton).items():
    values = np.linalg.eigvalsh(matrix[start : start + block.dim, start : start + block.dim])
    print(f"{name:12} {block.dim:4} eigenvalues, {(values > 0.1).sum():3} beyond 0.1")
    start += block.dim
