"""How far Kronecker factors are from the matrix that they stand for."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._arguments import check_count
from ..operators._output_factor import AbstractOutputFactor, Exact
from ..risk._parameters import structure_of
from ..risk._risk import Part, Risk
from ._capture import find_layers
from ._kfac import in_single, KFAC, pulled_back, second_moment
from ._kronecker import AbstractBlock, AbstractKronecker


def kfac_error(
    risk: Risk,
    params: PyTree,
    *,
    factor: AbstractOutputFactor | None = None,
    approximation: Callable[..., AbstractKronecker] = KFAC,
    limit: int = 5000,
) -> dict[str, Float[Array, ""]]:
    """The relative error ||G_l - B kron A||_F / ||G_l||_F of each layer's block.

    G_l is the diagonal block of layer l in the Gauss-Newton matrix (or the Fisher matrix that
    `factor` belongs to), written out, so the error is exact. The difference is the joint cumulants
    of inputs and gradients in the paper's equation (6), in which the sign before the second term
    should be a plus. Where a layer acts at a single position, it is 0 for deep linear networks with
    squared error, for a single example, and wherever inputs and gradients are independent. With
    several positions (convolutions, layers that are called more than once) it is in general not,
    see `Expand` and `Reduce`.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import kfac_error, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (10, 3))
    risk = Risk(forward, SquaredError(), inputs, jnp.zeros((10, 2)))
    kfac_error(risk, model)  # {"layers.0": ..., "layers.1": ...}
    ```

    **Arguments:**

    - `risk`, `params`, `factor`: as for `KFAC`.
    - `approximation`: `approximation(risk, params, factor)` is the matrix to compare: `KFAC`,
        `EKFAC`, or a function such as `functools.partial(KFAC, sharing=Reduce())`.
    - `limit`: the largest number of parameters of a layer that is not refused. The memory is a few
        times its square.

    **Returns:** the error by the path to the layer. Blocks that are exact are left out, and a layer
    whose G_l is 0 has the error 0 if its factors are, and infinity otherwise.

    **Raises:** `ValueError` as `KFAC` does, for a layer with more than `limit` parameters, and for
    a limit below one.
    """
    check_count("limit", limit)
    factor = Exact() if factor is None else factor
    sizes = [math.prod(s.shape) for s in jax.tree.leaves(structure_of(params))]
    for layer in find_layers(risk, params):
        size = sum(sizes[n] for n in layer.leaves)
        if layer.calls and size > limit:
            raise ValueError(
                f"The layer {layer.name} has {size} parameters, but `limit` is {limit}: its exact "
                "block is written out, and has the square of this many numbers. Raise the limit, "
                "or hold the layer constant with `eqx.partition`."
            )
    return _errors(risk, params, factor, approximation(risk, params, factor))


@eqx.filter_jit
def _errors(
    risk: Risk, params: PyTree, factor: AbstractOutputFactor, operator: AbstractKronecker
) -> dict[str, Float[Array, ""]]:
    layers = find_layers(risk, params)

    def exact(part: Part) -> dict[str, Float[Array, "size size"]]:
        result = {}
        for layer, seen in pulled_back(risk, params, layers, factor, part):
            if layer.calls:
                inputs, gradients = in_single(seen.inputs), in_single(seen.gradients)
                matrices = jnp.einsum("cnpo,npi->cnoi", gradients, inputs)
                flat = matrices.reshape(*matrices.shape[:2], -1)
                result[layer.name] = second_moment(flat, part.weights[None, :, None])
        return result

    with jax.default_matmul_precision("highest"):
        blocks = risk.accumulate(exact)
        named = {block.name: block for block in operator.blocks}
        return {name: _relative(block, named[name]) for name, block in blocks.items()}


def _relative(exact: Float[Array, "size size"], block: AbstractBlock) -> Float[Array, ""]:
    shape, size = block.shape, exact.shape[0]
    column = lambda e: block.product(e.reshape(shape)).reshape(-1)
    columns = jax.lax.map(column, jnp.eye(size, dtype=exact.dtype), batch_size=min(size, 64))
    error, norm = jnp.linalg.norm(exact - columns), jnp.linalg.norm(exact)
    of_zero = jnp.where(error > 0, jnp.inf, 0)
    return jnp.where(norm > 0, error / jnp.where(norm > 0, norm, 1), of_zero)
