"""Kronecker factors of `models.GPT` and `models.ViT` against curvlinops, in float64.

    python benchmarks/transformer_curvature.py

Both have two blocks. The `GPT` has SwiGLU, two query heads that share a key and a value, and an
output layer of its own. In its tied form the output layer is not a Linear layer, and curvlinops
gets the layers of the blocks. The printed number is the largest difference of the block of a Linear
layer, B kron A, relative to its largest entry. It needs the extra `benchmarks`.
"""

from collections.abc import Iterator
from typing import Any

import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]  (an extra)
from attention_peers import Together
from torch import nn  # pyright: ignore[reportMissingImports]  (an extra)

from spectral import models
from spectral.curvature import Empirical, Exact, Expand, KFAC, Reduce, Risk, SoftmaxCrossEntropy


SIZES: Any = {"width": 4, "depth": 2, "num_heads": 2, "mlp_width": 6}
MODERN: Any = SIZES | {"num_kv_heads": 1, "activation": models.swiglu()}
NETWORKS = {
    "GPT": lambda key: models.GPT(5, 4, **MODERN, tied=False, key=key),
    "GPT, tied": lambda key: models.GPT(5, 4, **MODERN, key=key),
    "ViT": lambda key: models.ViT((1, 4, 4), 3, 2, **SIZES, key=key),
}


class TorchTransformer(nn.Module):
    """The same network in PyTorch. `layers` has its Linear layers by the paths of ours."""

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.layers, self.paths = model, nn.ModuleList(), {}
        for i, block in enumerate(model.blocks):
            for part, names in (
                ("attention", ("query_proj", "key_proj", "value_proj", "output_proj")),
                ("mlp", ("up", "gate", "down")),
            ):
                for name in names:
                    self._add(f"blocks.{i}.{part}.{name}", getattr(getattr(block, part), name))
        self._add("head", model.head)
        self._add("patches", getattr(model, "patches", None))

    def _add(self, path: str, layer: Any) -> None:
        if layer is None:
            return
        size = layer.in_features, layer.out_features
        copy = nn.Linear(*size, bias=layer.use_bias, dtype=torch.float64)
        with torch.no_grad():
            copy.weight.copy_(tensor(layer.weight))
            if layer.use_bias:
                copy.bias.copy_(tensor(layer.bias))
        self.paths[path] = len(self.layers)
        self.layers.append(copy)

    def apply_layer(self, path: str, x):
        return self.layers[self.paths[path]](x)

    def forward(self, x):
        model = self.model
        if isinstance(model, models.GPT):
            x = tensor(model.embedding.weight)[x]
        else:
            size = model.patch_size
            x = x.unflatten(2, (-1, size)).unflatten(4, (-1, size)).permute(0, 2, 4, 1, 3, 5)
            x = self.apply_layer("patches", x.flatten(3).flatten(1, 2))
            x = torch.cat([tensor(model.class_token).expand(len(x), 1, -1), x], dim=1)
        positions: Any = model.positions
        x = x + tensor(positions.weight)[: x.shape[1]]
        for i, block in enumerate(model.blocks):
            x = x + self._attended(
                f"blocks.{i}.attention", block.attention, normed(block.attention_norm, x)
            )
            x = x + self._fed(f"blocks.{i}.mlp", block.mlp, normed(block.mlp_norm, x))
        x = normed(model.norm, x)
        if isinstance(model, models.ViT):
            return self.apply_layer("head", x[:, 0])
        # Curvlinops takes all positions as further examples.
        out = (
            x @ tensor(model.embedding.weight).T
            if model.head is None
            else self.apply_layer("head", x)
        )
        return out.flatten(0, 1)

    def _attended(self, path: str, own: Any, y):
        heads = lambda name, num: (
            self.apply_layer(f"{path}.{name}", y).unflatten(-1, (num, -1)).transpose(1, 2)
        )
        q, k, v = (
            heads("query_proj", own.num_heads),
            heads("key_proj", own.num_kv_heads),
            heads("value_proj", own.num_kv_heads),
        )
        group = own.num_heads // own.num_kv_heads
        k, v = (a.repeat_interleave(group, dim=1) for a in (k, v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=own.causal)
        return self.apply_layer(f"{path}.output_proj", mixed.transpose(1, 2).flatten(-2))

    def _fed(self, path: str, own: Any, y):
        up = self.apply_layer(f"{path}.up", y)
        if own.gate is None:
            hidden = nn.functional.gelu(up)
        else:
            hidden = nn.functional.silu(self.apply_layer(f"{path}.gate", y)) * up
        return self.apply_layer(f"{path}.down", hidden)


def tensor(array: Any):
    return torch.tensor(np.array(array))


def normed(layer: Any, x):
    return nn.functional.layer_norm(
        x, layer.shape, tensor(layer.weight), tensor(layer.bias), layer.eps
    )


def compare() -> Iterator[tuple[str, str, str, float, int]]:
    """For each network, kind of factor, and rule for shared weights: the largest relative
    difference of a Linear layer, and how many there are."""
    for network_name, make in NETWORKS.items():
        rng = np.random.default_rng(0)
        shapes = eqx.filter_eval_shape(make, jax.random.key(0))
        model = jax.tree.map(lambda s, rng=rng: drawn(s, rng), shapes)
        causal = isinstance(model, models.GPT)
        inputs = rng.integers(0, 5, (3, 4)) if causal else rng.normal(size=(3, 1, 4, 4))
        labels = rng.integers(0, 5 if causal else 3, (3, 4) if causal else 3)
        risk = Risk(forward, SoftmaxCrossEntropy(), jnp.asarray(inputs), jnp.asarray(labels))
        network = TorchTransformer(model)
        z = network(torch.tensor(inputs)).detach().numpy()
        ours = np.asarray(forward(model, risk.inputs)).reshape(z.shape)
        np.testing.assert_allclose(ours, z, rtol=1e-11, atol=1e-12)
        for kind, factor in (
            ("type-2", Together() if causal else Exact()),
            ("empirical", Empirical()),
        ):
            for rule, sharing in (("expand", Expand()), ("reduce", Reduce())):
                operator = curvlinops.KFACLinearOperator(
                    network,
                    nn.CrossEntropyLoss(),
                    list(network.parameters()),
                    [(torch.tensor(inputs), torch.tensor(labels.ravel()))],
                    check_deterministic=False,
                    fisher_type=kind,
                    kfac_approx=rule,
                    separate_weight_and_bias=False,
                    num_data=len(inputs),
                    num_per_example_loss_terms=4 if causal else 1,
                )
                operator.compute_kronecker_factors()
                kfac = KFAC(risk, model, factor=factor, sharing=sharing)
                found = errors(network, operator, kfac)
                yield network_name, kind, rule, max(found), len(found)


def drawn(leaf: Any, rng: np.random.Generator) -> Any:
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    return jnp.asarray(rng.normal(size=leaf.shape) * 0.5)


def forward(model: Any, inputs):
    return jax.vmap(lambda x: model(x)[0])(inputs)


def errors(network: TorchTransformer, operator: Any, kfac: KFAC) -> list[float]:
    blocks = {block.name: block for block in kfac.blocks}
    pairs = []
    for path, index in network.paths.items():
        name = f"layers.{index}"
        a = operator._input_covariances[name].numpy()
        b = operator._gradient_covariances[name].numpy()
        own = np.kron(np.asarray(blocks[path].outputs), np.asarray(blocks[path].inputs))
        pairs.append((own, np.kron(b, a)))
    largest = max(np.abs(expected).max() for _, expected in pairs)
    # With `Reduce` the block of the keys is 0: adding a vector to all keys changes no attention.
    scale = lambda expected: max(np.abs(expected).max(), 1e-12 * largest)
    return [float(np.abs(own - other).max() / scale(other)) for own, other in pairs]


if __name__ == "__main__":
    with jax.enable_x64(True):
        for network_name, kind, rule, error, size in compare():
            print(f"| {network_name} | {kind} | {rule} | {size} | {error:.1e} |", flush=True)
