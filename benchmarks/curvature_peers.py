"""The peers of `curvature.py`: curvlinops and PyHessian on the same network and data.

They need the extra `benchmarks`. Peers that are not installed are left out.
"""

import importlib.util
from collections.abc import Callable

import numpy as np

from spectral import models


def installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


class TorchNetwork:
    """A multilayer perceptron with its data and mean cross-entropy, copied to PyTorch."""

    def __init__(self, model: models.MLP, inputs, labels, *, double: bool = False):
        import torch  # pyright: ignore[reportMissingImports]  (an extra)

        self.torch = torch
        dtype = torch.float64 if double else torch.float32
        layers = []
        for i, layer in enumerate(model.layers):
            dense = torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0], dtype=dtype)
            assert layer.bias is not None
            with torch.no_grad():
                dense.weight.copy_(torch.tensor(np.array(layer.weight)))
                dense.bias.copy_(torch.tensor(np.array(layer.bias)))
            layers += [dense, torch.nn.ReLU()] if i < len(model.layers) - 1 else [dense]
        self.network = torch.nn.Sequential(*layers)
        self.data = (
            torch.tensor(np.array(inputs), dtype=dtype),
            torch.tensor(np.array(labels), dtype=torch.int64),
        )
        self.loss = torch.nn.CrossEntropyLoss()
        self.params = [p for p in self.network.parameters() if p.requires_grad]

    def curvlinops_product(self, name: str) -> Callable[[], object]:
        """Computes one product of a matrix of curvlinops with a vector."""
        import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)

        make = getattr(curvlinops, name)
        operator = make(
            self.network, self.loss, self.params, [self.data], check_deterministic=False
        )
        vector = self.torch.randn(operator.shape[1])
        return lambda: operator @ vector

    def curvlinops_kfac(self) -> Callable[[], object]:
        """Computes all factors of the exact (type-2) KFAC matrix."""
        import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)

        def compute() -> object:
            operator = curvlinops.KFACLinearOperator(
                self.network,
                self.loss,
                self.params,
                [self.data],
                check_deterministic=False,
                fisher_type="type-2",
                separate_weight_and_bias=False,
            )
            vector = self.torch.zeros(operator.shape[1])
            return operator @ vector  # the first product computes the factors

        return compute

    def pyhessian_density(
        self, order: int, num_vectors: int
    ) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        """The nodes and weights of PyHessian's density, each [num_vectors, order]."""
        from pyhessian import hessian  # pyright: ignore[reportMissingImports]  (an extra)

        torch = self.torch

        def eig(matrix, eigenvectors):  # removed from PyTorch, but PyHessian calls it
            values, vectors = torch.linalg.eig(matrix)
            return torch.stack([values.real, values.imag], dim=1), vectors.real

        torch.eig = eig

        def density() -> tuple[np.ndarray, np.ndarray]:
            found = hessian(self.network, self.loss, data=self.data, cuda=False)
            nodes, weights = found.density(iter=order, n_v=num_vectors)
            return np.asarray(nodes), np.asarray(weights)

        return density
