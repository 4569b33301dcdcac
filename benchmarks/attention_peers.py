"""The factors of a small transformer against those of curvlinops, in float64 on equal weights."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from plain_transformer import Transformer

from spectral.curvature import (
    AbstractLoss,
    AbstractOutputFactor,
    Empirical,
    Exact,
    Expand,
    KFAC,
    Reduce,
    Risk,
    SoftmaxCrossEntropy,
)


Matrix = Float[np.ndarray, "size size"]


class Together(AbstractOutputFactor):
    """The columns of `Exact` for one class at all positions of a sequence are added up.

    This is what curvlinops pulls back for outputs `[sequences, positions, classes]`. The products
    of different positions that it contains are not part of the Gauss-Newton matrix.
    """

    def columns(
        self, loss: AbstractLoss, outputs: PyTree, targets: PyTree, indices: Int[Array, " examples"]
    ) -> PyTree:
        columns = loss.hessian_root(outputs, targets)
        length = outputs.shape[1]
        return jnp.sum(columns.reshape(length, -1, *outputs.shape), axis=0)

    def product(self, loss, outputs, targets, indices):
        raise NotImplementedError("KFAC uses the columns alone.")


def forward(model: Transformer, inputs: Int[Array, "examples length"]) -> Array:
    return jax.vmap(model)(inputs)


def torch_copy(model: Transformer):
    """The same network in PyTorch, with the Linear layers in the order of `model`."""
    import torch  # pyright: ignore[reportMissingImports]  (an extra)
    from torch import nn  # pyright: ignore[reportMissingImports]

    def copied(module, layer):
        with torch.no_grad():
            module.weight.copy_(torch.tensor(np.array(layer.weight)))
            if layer.bias is not None:
                module.bias.copy_(torch.tensor(np.array(layer.bias)))
        return module

    def linear(layer):
        size = layer.in_features, layer.out_features
        return copied(nn.Linear(*size, bias=layer.use_bias, dtype=torch.float64), layer)

    def norm(layer):
        return copied(nn.LayerNorm(layer.shape, eps=layer.eps, dtype=torch.float64), layer)

    class TorchBlock(nn.Module):
        def __init__(self, block):
            super().__init__()
            own = block.attention
            self.norm1, self.norm2 = norm(block.norm1), norm(block.norm2)
            self.query, self.key = linear(own.query_proj), linear(own.key_proj)
            self.value, self.output = linear(own.value_proj), linear(own.output_proj)
            self.rise, self.fall = linear(block.rise), linear(block.fall)
            self.num_heads = own.num_heads

        def forward(self, x, is_causal):
            heads = lambda y: y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            y = self.norm1(x)
            q, k, v = heads(self.query(y)), heads(self.key(y)), heads(self.value(y))
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
            x = x + self.output(mixed.transpose(1, 2).flatten(-2))
            return x + self.fall(nn.functional.gelu(self.rise(self.norm2(x))))

    class TorchTransformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = torch.tensor(np.array(model.tokens.weight))
            self.positions = torch.tensor(np.array(model.positions.weight))
            self.blocks = nn.ModuleList(TorchBlock(block) for block in model.blocks)
            self.norm, self.head = norm(model.norm), linear(model.head)

        def forward(self, tokens):
            x = self.tokens[tokens] + self.positions[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x, model.is_causal)
            x = self.norm(x)
            # Curvlinops takes all positions as further examples.
            return self.head(x).flatten(0, 1) if model.is_causal else self.head(x.mean(dim=1))

    return TorchTransformer()


LINEAR = (
    *("attention.query_proj", "attention.key_proj", "attention.value_proj"),
    *("attention.output_proj", "rise", "fall"),
)


def compare() -> Iterator[tuple[str, str, str, float, int]]:
    """The largest relative difference of the blocks of all Linear layers, and how many these are,
    for each network, kind of factor, and rule for shared weights."""
    import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)
    import torch  # pyright: ignore[reportMissingImports]  (an extra)

    rng = np.random.default_rng(0)
    for is_causal in (True, False):
        options: Any = {"width": 6, "num_heads": 2, "num_blocks": 2, "context": 4}
        model = Transformer(5, **options, is_causal=is_causal, key=jax.random.key(0))
        tokens = rng.integers(0, 5, (3, 4))
        labels = rng.integers(0, 5, (3, 4) if is_causal else 3)
        risk = Risk(forward, SoftmaxCrossEntropy(), jnp.asarray(tokens), jnp.asarray(labels))
        network = torch_copy(model)
        layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
        params = [p for layer in layers for p in layer.parameters()]
        targets = torch.tensor(labels.ravel() if is_causal else labels)
        data = [(torch.tensor(tokens), targets)]
        exact = Together() if is_causal else Exact()
        kinds = (("type-2", exact), ("empirical", Empirical()))
        for kind, factor in kinds:
            for name, sharing in (("expand", Expand()), ("reduce", Reduce())):
                operator = curvlinops.KFACLinearOperator(
                    network,
                    torch.nn.CrossEntropyLoss(),
                    params,
                    data,
                    check_deterministic=False,
                    fisher_type=kind,
                    kfac_approx=name,
                    separate_weight_and_bias=False,
                    num_data=len(tokens),
                    num_per_example_loss_terms=4 if is_causal else 1,
                )
                errors = _errors(operator, KFAC(risk, model, factor=factor, sharing=sharing))
                network_name = "decoder" if is_causal else "encoder"
                yield network_name, kind, name, max(errors), len(errors)


def _errors(operator, kfac: KFAC) -> list[float]:
    operator.compute_kronecker_factors()
    blocks = {block.name: block for block in kfac.blocks}
    torch_name = {"query_proj": "query", "key_proj": "key", "value_proj": "value"}
    torch_name |= {"output_proj": "output"}
    names = {"head": "head"}
    for index in range(2):
        for path in LINEAR:
            last = path.split(".")[-1]
            names[f"blocks.{index}.{path}"] = f"blocks.{index}.{torch_name.get(last, last)}"
    pairs = [_pair(blocks[path], operator, name) for path, name in names.items()]
    largest = max(np.abs(expected).max() for _, expected in pairs)
    # With `Reduce` the block of the keys is 0: adding a vector to all keys changes no attention.
    scale = lambda expected: max(np.abs(expected).max(), 1e-12 * largest)
    return [float(np.abs(own - other).max() / scale(other)) for own, other in pairs]


def _pair(block, operator, name: str) -> tuple[Matrix, Matrix]:
    a = operator._input_covariances[name].numpy()
    b = operator._gradient_covariances[name].numpy()
    return np.kron(np.asarray(block.outputs), np.asarray(block.inputs)), np.kron(b, a)
