"""The cases of `curvature.py speed`: products, Kronecker factors, densities, and their peers."""

import functools
from typing import Any

import equinox as eqx
import jax
from curvature_peers import installed, TorchNetwork
from timing.case import Case, Contender
from timing.command import Cases

from spectral import models
from spectral.curvature import (
    EKFAC,
    GaussNewton,
    Hessian,
    KFAC,
    Lanczos,
    MatfreeLanczos,
    Risk,
    SoftmaxCrossEntropy,
)


ROWS, INPUTS, CLASSES = 2000, 784, 10
PRODUCTS = 10  # in one call of a compiled program


def forward(model, inputs):
    return jax.vmap(model)(inputs)[0]


def problem(width: int, rows: int = ROWS, size: int = INPUTS) -> tuple[Risk, models.MLP]:
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (rows, size))
    labels = jax.random.randint(keys[1], (rows,), 0, CLASSES)
    model = models.MLP(size, CLASSES, width=width, key=keys[2])
    return Risk(forward, SoftmaxCrossEntropy(), inputs, labels), model


def cases(*, quick: bool, small: bool) -> Cases:
    """By the name of the work: for P = 1e5, and, if not `quick`, for P = 2.8e6."""
    found = {}
    widths = [4] if small else [100] if quick else [100, 1000]
    for width in widths:
        rows, inputs = (20, 8) if small else (ROWS, INPUTS)
        order = 4 if small else 80 if width < 1000 else 20
        size = f"MLP {inputs}-{width}, N = {rows}"
        made = functools.partial(Work, width, rows, inputs)
        found |= {
            f"Hessian product, {size}": lambda made=made: made().hessian(),
            f"GGN product, {size}": lambda made=made: made().gauss_newton(),
            f"KFAC factors, {size}": lambda made=made: made().kfac(),
            f"EKFAC, {size}": lambda made=made: made().ekfac(),
            f"density of order {order}, {size}": lambda made=made, order=order: made().density(
                order
            ),
        }
    return found


class Work:
    """One network and its data, for this library and for its peers."""

    def __init__(self, width: int, rows: int, inputs: int):
        self.risk, self.model = problem(width, rows, inputs)
        self.params = eqx.filter(self.model, eqx.is_inexact_array)
        weights = [layer.weight.shape for layer in self.model.layers]
        self.entries = [m * n for m, n in weights]
        self.rows, self.width, self.inputs = rows, width, inputs
        self.dim = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        self.largest = rows, max(inputs, width), width
        self.torch = installed("torch")

    def hessian(self) -> Case:
        operator = Hessian(self.risk, self.model)
        bare = lambda: bare_products(self.risk, self.model, self.params, PRODUCTS)
        peers = {"bare linearize": Contender(bare, PRODUCTS)} | self._of("hessian")
        return self._product(operator, peers, self.product_flops(passes=6, first=2))

    def gauss_newton(self) -> Case:
        operator = GaussNewton(self.risk, self.model)
        return self._product(operator, self._of("ggn"), self.product_flops(passes=4, first=2))

    def kfac(self) -> Case:
        peers = {}
        if self.torch and installed("curvlinops"):
            peers["curvlinops"] = Contender(self._peer().curvlinops_kfac("KFACLinearOperator"))
        ours = Contender(lambda: factors(KFAC, self.risk, self.model))
        return Case(ours, peers, self.factor_flops(), None, None, self.largest)

    def ekfac(self) -> Case:
        peers = {"our KFAC": Contender(lambda: factors(KFAC, self.risk, self.model))}
        if self.torch and installed("curvlinops"):
            peers["curvlinops"] = Contender(self._peer().curvlinops_kfac("EKFACLinearOperator"))
        return Case(Contender(lambda: factors(EKFAC, self.risk, self.model)), peers)

    def density(self, order: int) -> Case:
        operator, key = Hessian(self.risk, self.model), jax.random.key(1)
        ours, plain = (
            Lanczos(order=order, num_vectors=1),
            MatfreeLanczos(order=order, num_vectors=1),
        )
        peers = {"matfree": Contender(lambda: plain(operator, key=key).nodes)}
        if self.torch and installed("hessian_eigenthings"):
            peers["hessian-eigenthings"] = Contender(self._peer().eigenthings_density(order))
        if self.torch and installed("pyhessian"):
            peers["PyHessian"] = Contender(self._peer().pyhessian_density(order, 1))
        # Each new vector is made orthogonal to those before, which are read twice for that.
        basis = order * (order + 1) // 2 * self.dim
        flops = order * self.product_flops(passes=6, first=2) + 4 * basis
        return Case(
            Contender(lambda: ours(operator, key=key).nodes),
            peers,
            flops,
            order * self.product_traffic() + 4 * 2 * basis,
            4 * order * self.dim,
            self.largest,
            rounds=3 if self.dim > 1e6 else None,
        )

    def product_flops(self, *, passes: int, first: int) -> float:
        """The operations of a product with a matrix that is linearised once.

        A matrix product of all rows with a layer has 2 x rows x entries. A product with the Hessian
        has six of them for a layer: two for the tangents of the outputs (through the weights and
        through their tangents), two for those of the gradients of the inputs, two for those of the
        gradients of the weights. The first layer has two, because its inputs are constant. A
        product with the Gauss-Newton matrix has two and two, and two for the first layer.
        """
        rest = sum(self.entries[1:])
        return 2.0 * self.rows * (passes * rest + first * self.entries[0])

    def product_traffic(self) -> float:
        """The weights and a vector are read, a vector is written, and the activations, their
        tangents and the gradients at the outputs of layers are read."""
        outputs = self.rows * (self.inputs + 3 * self.width + CLASSES)
        return 4.0 * (3 * self.dim + 3 * outputs)

    def factor_flops(self) -> float:
        """One forward pass, a backward pass for each class, and the two factors of each layer; a
        symmetric product counts half."""
        sizes = [self.inputs, *[self.width] * 3, CLASSES]
        passes = 2.0 * self.rows * (sum(self.entries) + CLASSES * sum(self.entries[1:]))
        inputs = sum(n * n for n in sizes[:-1])
        outputs = CLASSES * sum(n * n for n in sizes[1:])
        return passes + self.rows * (inputs + outputs)

    def _product(self, operator: Any, peers: dict[str, Contender], flops: float) -> Case:
        run = lambda: products(operator, self.params, PRODUCTS)
        traffic = self.product_traffic()
        working_set = round(traffic)
        return Case(Contender(run, PRODUCTS), peers, flops, traffic, working_set, self.largest)

    def _of(self, kind: str) -> dict[str, Contender]:
        """The products of the peers that are installed."""
        known = {
            "curvlinops": ("curvlinops", f"curvlinops_{kind}"),
            "hessian-eigenthings": ("hessian_eigenthings", f"eigenthings_{kind}"),
            "PyHessian": ("pyhessian", f"pyhessian_{kind}"),
        }
        found = {}
        for name, (package, method) in known.items():
            if self.torch and installed(package) and hasattr(TorchNetwork, method):
                found[name] = Contender(getattr(self._peer(), method)())
        return found

    def _peer(self) -> TorchNetwork:
        return TorchNetwork(self.model, self.risk.inputs, self.risk.targets)


@eqx.filter_jit
def bare_products(risk: Risk, model, vector, count: int):
    """Linearises the gradient once, without this library."""
    params, static = eqx.partition(model, eqx.is_inexact_array)
    with jax.default_matmul_precision("highest"):
        _, linear = jax.linearize(jax.grad(lambda p: risk(eqx.combine(p, static))), params)
        return jax.lax.fori_loop(0, count, lambda _, v: linear(v), vector)


@eqx.filter_jit
def products(operator, vector, count: int):
    product = operator.product()
    return jax.lax.fori_loop(0, count, lambda _, v: product(v), vector)


@eqx.filter_jit
def factors(kind, risk: Risk, model):
    return eqx.filter(kind(risk, model), eqx.is_array)
