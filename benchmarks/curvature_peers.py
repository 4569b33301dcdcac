"""The peers of `curvature.py`: curvlinops, hessian-eigenthings and PyHessian, on the same network.

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

    def curvlinops_hessian(self) -> Callable[[], object]:
        """Computes one product with a vector."""
        return self._curvlinops_product("HessianLinearOperator")

    def curvlinops_ggn(self) -> Callable[[], object]:
        """Computes one product with a vector."""
        return self._curvlinops_product("GGNLinearOperator")

    def _curvlinops_product(self, name: str) -> Callable[[], object]:
        import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)

        make = getattr(curvlinops, name)
        operator = make(
            self.network, self.loss, self.params, [self.data], check_deterministic=False
        )
        vector = self.torch.randn(operator.shape[1])
        return lambda: operator @ vector

    def curvlinops_kfac(self, name: str) -> Callable[[], object]:
        """Computes the exact (type-2) factors, for `"EKFACLinearOperator"` with their eigenvectors
        and the corrected eigenvalues."""
        import curvlinops  # pyright: ignore[reportMissingImports]  (an extra)

        make = getattr(curvlinops, name)

        def compute() -> object:
            operator = make(
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

    def eigenthings_hessian(self) -> Callable[[], object]:
        """Computes one product with a vector."""
        operator = self._eigenthings_operator()
        vector = self.torch.randn(operator.size)
        return lambda: operator.matvec(vector)

    def eigenthings_ggn(self) -> Callable[[], object]:
        """Computes one product with a vector."""
        import hessian_eigenthings as peer  # pyright: ignore[reportMissingImports]  (an extra)

        operator = peer.GGNOperator(
            self.network,
            [self.data],
            peer.supervised_forward,
            peer.supervised_loss_of_output(self.loss),
        )
        vector = self.torch.randn(operator.size)
        return lambda: operator.matvec(vector)

    def eigenthings_density(self, order: int) -> Callable[[], object]:
        """Computes the density with one vector."""
        import hessian_eigenthings as peer  # pyright: ignore[reportMissingImports]  (an extra)

        operator = self._eigenthings_operator()
        return lambda: peer.spectral_density(operator, num_runs=1, lanczos_steps=order)

    def _eigenthings_operator(self):
        import hessian_eigenthings as peer  # pyright: ignore[reportMissingImports]  (an extra)

        return peer.HessianOperator(self.network, [self.data], peer.supervised_loss(self.loss))

    def pyhessian_hessian(self) -> Callable[[], object]:
        """Computes one product with a vector, with the graph of the gradient kept."""
        from pyhessian import hessian  # pyright: ignore[reportMissingImports]  (an extra)
        from pyhessian.utils import hessian_vector_product  # pyright: ignore[reportMissingImports]

        found = hessian(self.network, self.loss, data=self.data, cuda=False)
        vector = [self.torch.randn_like(p) for p in found.params]
        return lambda: hessian_vector_product(found.gradsH, found.params, vector)

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
