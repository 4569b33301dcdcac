"""How far Kronecker factors are from the matrix that they approximate."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._arguments import check_count
from ..._base._precision import in_single
from ..._base._scaling import norm
from ..operators._output_factor import AbstractOutputFactor, EXACT
from ..risk._held import hold
from ..risk._parameters import structure_of
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ._factorise import pulled_back, second_moment
from ._kfac import KFAC
from ._kronecker import AbstractKronecker
from .blocks._block import AbstractBlock
from .capture._find import find_layers
from .capture._records import matrices


def kfac_error(
    risk: Risk,
    params: PyTree,
    *,
    factor: AbstractOutputFactor = EXACT,
    approximation: Callable[..., AbstractKronecker] = KFAC,
    limit: int = 5000,
) -> dict[str, Float[Array, ""]]:
    """The relative error ||G_l - B kron A||_F / ||G_l||_F of each layer's block.

    G_l is the diagonal block of layer l in the Gauss-Newton matrix, or in the Fisher matrix with
    this `factor`. It is written out, so the error is exact. The difference consists of the joint
    cumulants of inputs and gradients in the paper's equation (6), in which the sign before the
    second term should be a plus. For layers that act at a single position, the error is 0 for deep
    linear networks with squared error, for a single example, and whenever inputs and gradients are
    independent. With several positions (convolutions, layers that are called more than once) it is
    in general not 0; see `Expand` and `Reduce`. The exact block of a tied weight also has
    what lies between its uses.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import kfac_error, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.eye(3), jnp.zeros((3, 2)))
    kfac_error(risk, model)  # {"layers.0": ..., "layers.1": ...}
    ```

    **Arguments:**

    - `risk`, `params`, `factor`: as for `KFAC`.
    - `approximation`: `approximation(risk, params, factor=factor)` is the matrix to compare:
        `KFAC`, `EKFAC`, or a function such as `functools.partial(KFAC, separate_bias=True)`. The
        errors are those of its blocks, each against the exact block of the same parameters.
    - `limit`: the largest number of parameters of a layer. The memory is a few times its square.

    **Returns:** the error by the path to the layer, or to the block if it has several. Blocks that
    are always exact are left out. If G_l is 0, the error is 0 if the factors are 0 too, and
    infinity otherwise.

    **Raises:** `ValueError` as `KFAC` does, if a layer has more than `limit` parameters, or if
    `limit` is below one.
    """
    check_count("limit", limit)
    operator = approximation(risk, params, factor=factor)
    risk, params = _parameters_of(operator, risk, params)
    sizes = [math.prod(s.shape) for s in jax.tree.leaves(structure_of(params))]
    for layer in find_layers(risk, params):
        size = sum(sizes[n] for n in layer.leaves)
        if layer.calls and size > limit:
            raise ValueError(
                f"The layer {layer.name} has {size} parameters, but `limit` is {limit}, because "
                "its exact block is written out and has the square of this many numbers: raise "
                "the limit, or hold the layer constant with `eqx.partition`."
            )
    return _errors(risk, params, factor, operator)


def _parameters_of(operator: AbstractKronecker, risk: Risk, params: PyTree) -> tuple[Risk, PyTree]:
    """The risk as a function of the parameters that an operator acts on."""
    path_of = lambda leaf: jax.tree_util.keystr(leaf[0])
    own = set(map(path_of, jax.tree_util.tree_leaves_with_path(operator.structure)))
    every, structure = jax.tree_util.tree_flatten_with_path(structure_of(params))
    kept = [path_of(leaf) in own for leaf in every]
    return (risk, params) if all(kept) else hold(risk, params, structure.unflatten(kept))


@eqx.filter_jit
def _errors(
    risk: Risk, params: PyTree, factor: AbstractOutputFactor, operator: AbstractKronecker
) -> dict[str, Float[Array, ""]]:
    layers = find_layers(risk, params)
    sizes = [math.prod(s.shape) for s in jax.tree.leaves(operator.structure)]

    def exact(batch: ExampleBatch) -> dict[str, Float[Array, "size size"]]:
        result = {}
        for layer, records in pulled_back(risk, params, layers, factor, batch):
            for block in operator.blocks:
                if not layer.calls or not set(block.leaves) & set(layer.leaves):
                    continue
                widths = [sizes[n] // block.shape[0] for n in layer.leaves]
                columns = np.repeat([n in block.leaves for n in layer.leaves], widths)
                own = [matrices(in_single(record.within(columns).dense)) for record in records]
                whole = jax.tree.reduce(jnp.add, own)
                flat = whole.reshape(*whole.shape[:2], -1)
                result[block.name] = second_moment(flat, batch.weights[None, :, None])
        return result

    with jax.default_matmul_precision("highest"):
        blocks = risk.accumulate(exact)
        named = {block.name: block for block in operator.blocks}
        return {name: _relative(block, named[name]) for name, block in blocks.items()}


def _relative(exact: Float[Array, "size size"], block: AbstractBlock) -> Float[Array, ""]:
    shape, size = block.shape, exact.shape[0]
    column = lambda e: block.product(e.reshape(shape)).reshape(-1)
    columns = jax.lax.map(column, jnp.eye(size, dtype=exact.dtype), batch_size=min(size, 64))
    error, size_of_exact = norm(exact - columns), norm(exact)
    of_zero = jnp.where(error > 0, jnp.inf, 0)
    known = size_of_exact > 0
    return jnp.where(known, error / jnp.where(known, size_of_exact, 1), of_zero)
