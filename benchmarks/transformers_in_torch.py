"""The decoder of `transformers.py` in PyTorch, with equal weights, and what the peers do with it.

It needs the extra `benchmarks`.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]  (an extra)
from torch import nn  # pyright: ignore[reportMissingImports]

from spectral import models


class TorchBlock(nn.Module):
    def __init__(self, block: Any):
        super().__init__()
        own = block.attention
        self.norm1, self.norm2 = norm(block.attention_norm), norm(block.mlp_norm)
        self.query, self.key = linear(own.query_proj), linear(own.key_proj)
        self.value, self.output = linear(own.value_proj), linear(own.output_proj)
        self.up, self.down = linear(block.mlp.up), linear(block.mlp.down)
        self.num_heads = own.num_heads

    def forward(self, x: Any) -> Any:
        y = self.norm1(x)
        apart = lambda z: z.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)
        q, k, v = (apart(layer(y)) for layer in (self.query, self.key, self.value))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(mixed.transpose(-3, -2).flatten(-2))
        hidden = nn.functional.gelu(self.up(self.norm2(x)), approximate="tanh")
        return x + self.down(hidden)


class TorchGPT(nn.Module):
    """The logits of a batch, with all tokens as rows."""

    def __init__(self, model: models.GPT):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(array(model.embedding.weight), freeze=False)
        self.positions = nn.Parameter(array(model.positions.weight))  # pyright: ignore
        self.blocks = nn.Sequential(*map(TorchBlock, model.blocks))
        self.norm = norm(model.norm)
        self.head = None if model.head is None else linear(model.head)

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        x = self.norm(self.blocks(x))
        logits = x @ self.embedding.weight.T if self.head is None else self.head(x)
        return logits.flatten(0, 1)


def array(ours: jax.Array) -> Any:
    return torch.tensor(np.asarray(ours))


def linear(layer: Any) -> nn.Linear:
    found = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], bias=layer.bias is not None)
    return take(found, layer)


def norm(layer: Any) -> nn.LayerNorm:
    return take(nn.LayerNorm(layer.weight.shape[0], eps=layer.eps), layer)


def take(theirs: Any, ours: Any) -> Any:
    """Copies the weights of a layer of this library to a layer of PyTorch."""
    with torch.no_grad():
        theirs.weight.copy_(array(ours.weight))
        if ours.bias is not None:
            theirs.bias.copy_(array(ours.bias))
    return theirs


class Peers:
    """Training and curvature of one decoder on the tokens of minibatches, [steps, sequences, T]."""

    def __init__(self, model: models.GPT, inputs: np.ndarray, targets: np.ndarray):
        self.network = TorchGPT(model)
        tensor = lambda x: torch.tensor(np.asarray(x), dtype=torch.int64)
        self.inputs, self.targets = tensor(inputs), tensor(targets)
        self.loss = nn.CrossEntropyLoss()
        self.batch = (self.inputs[0], self.targets[0].flatten())

    def loss_of_first(self) -> float:
        inputs, targets = self.batch
        return float(self.loss(self.network(inputs), targets))

    def training(self, lr: float, weight_decay: float) -> Callable[[], object]:
        """Trains on all minibatches, as eager PyTorch does, and counts the right answers."""
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=lr, weight_decay=weight_decay, fused=True
        )
        targets = self.targets.flatten(1)

        def train() -> object:
            right = torch.zeros(())
            for x, y in zip(self.inputs, targets, strict=True):
                optimiser.zero_grad()
                logits = self.network(x)
                value = self.loss(logits, y)
                value.backward()
                optimiser.step()
                right += (logits.detach().argmax(1) == y).float().mean()
            return right

        return train

    def curvlinops_product(self) -> Callable[[], object]:
        import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)

        params = [p for p in self.network.parameters() if p.requires_grad]
        operator = curvlinops.HessianLinearOperator(
            self.network, self.loss, params, [self.batch], check_deterministic=False
        )
        vector = torch.randn(operator.shape[1])
        return _twice_differentiable(lambda: operator @ vector)

    def eigenthings_product(self) -> Callable[[], object]:
        from hessian_eigenthings.operators.hessian import (  # pyright: ignore
            HessianOperator,
        )

        loss_of = lambda network, batch: self.loss(network(batch[0]), batch[1])
        operator = HessianOperator(self.network, [self.batch], loss_of)
        vector = torch.randn(sum(p.numel() for p in self.network.parameters()))
        return _twice_differentiable(lambda: operator.matvec(vector))

    def curvlinops_kfac(self, kind: str) -> Callable[[], object]:
        """Computes all factors of the Linear layers; curvlinops has none for other layers."""
        import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)

        layers = [m for m in self.network.modules() if isinstance(m, nn.Linear)]
        params = [p for layer in layers for p in layer.parameters()]

        def compute() -> object:
            operator = curvlinops.KFACLinearOperator(
                self.network,
                self.loss,
                params,
                [self.batch],
                check_deterministic=False,
                fisher_type=kind,
                separate_weight_and_bias=False,
                num_data=len(self.inputs[0]),
                num_per_example_loss_terms=self.inputs.shape[2],
            )
            operator.compute_kronecker_factors()
            return operator

        return compute


def _twice_differentiable(run: Callable[[], object]) -> Callable[[], object]:
    """The fused attention of PyTorch on CPU has no second derivative."""

    def product() -> object:
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            return run()

    return product
