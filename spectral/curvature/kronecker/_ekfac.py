"""KFAC with the best eigenvalues for its eigenvectors."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..operators._output_factor import AbstractOutputFactor, EXACT
from ..operators._single_threaded import jit_single_threaded
from ..risk._check_risk import check_risk
from ..risk._parameters import structure_of
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ._chosen import choose_layers
from ._factorise import factors, pulled_back, separated_if
from ._kronecker import AbstractKronecker
from ._layout import Layout
from ._sharing import AbstractSharing, EXPAND
from .blocks._rotated import RotatedBlock
from .blocks._transposed import TransposedBlock
from .capture._capture import Records
from .capture._find import find_layers
from .capture._layer import Layer
from .capture._records import Recorded


class EKFAC(AbstractKronecker):
    """Kronecker-factored curvature with corrected eigenvalues.

    The eigenvectors of each block are those of `KFAC`: products of the eigenvectors of B and A. Its
    eigenvalues are the second moments of the gradients along them, which are the diagonal of the
    exact block in this basis. No other eigenvalues bring the block closer to the exact one in
    Frobenius norm, so the error of `EKFAC` is at most that of `KFAC`. Its trace is the trace of the
    exact matrix.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import EKFAC, kfac_error, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.eye(3), jnp.zeros((3, 2)))
    ekfac = EKFAC(risk, model)
    kfac_error(risk, model, approximation=EKFAC)  # {"layers.0": ..., "layers.1": ...}
    ```

    **Arguments:** those of `KFAC`, with the same conventions. The gradients belong to whole
    examples and are summed over positions, for any `sharing`. Data in several batches are
    processed twice, and there is one eigenvalue for each parameter. With `separate_bias` the
    eigenvectors are those of `KFAC` with `separate_bias`.

    **Raises:** `ValueError` as `KFAC` does.

    The `KFAC` block of a tied weight is a sum of Kronecker products, which have no common
    eigenvectors. The basis is then that of the two partial traces of the sum, and the error may
    exceed that of `KFAC`.

    See George et al. (2018).
    """

    blocks: tuple[RotatedBlock, ...]
    layout: Layout

    def __init__(
        self,
        risk: Risk,
        params: PyTree,
        *,
        factor: AbstractOutputFactor = EXACT,
        sharing: AbstractSharing = EXPAND,
        separate_bias: bool = False,
        layers: Sequence[str] | None = None,
    ):
        check_risk(risk, params)
        risk, params = choose_layers(risk, params, layers)
        self.layout = Layout(structure_of(params))
        self.blocks = _correct(risk, params, factor, sharing, separate_bias)

    @property
    def rest(self) -> Float[Array, ""]:
        return jnp.zeros((), self.dtype)


@jit_single_threaded
def _correct(
    risk: Risk,
    params: PyTree,
    factor: AbstractOutputFactor,
    sharing: AbstractSharing,
    separate_bias: bool,
) -> tuple[RotatedBlock, ...]:
    """The blocks of KFAC with corrected eigenvalues."""
    layers = find_layers(risk, params)

    def recorded(batch: ExampleBatch) -> list[tuple[Layer, Records]]:
        return pulled_back(risk, params, layers, factor, batch, separate_bias=separate_bias)

    with jax.default_matmul_precision("highest"):
        if risk.num_batches == 1:  # both passes take the same records
            found = recorded(risk.whole())
            recorded = lambda batch: found
        blocks = factors(risk, recorded, separated_if(layers, separate_bias), sharing)
        bases = [block.eigenvectors() for block in blocks]

        def moments(batch: ExampleBatch) -> list[Array]:
            result = []
            for (layer, records), block, ((values, u), (_, v)) in zip(
                recorded(batch), blocks, bases, strict=True
            ):
                if layer.calls:
                    result.append(_moments(records, u, v, block.shape[0], batch.weights))
                    continue
                # The block is exact; each batch contributes its weight.
                exact = values[None]
                if isinstance(block, TransposedBlock):
                    exact = block.inputs[:, None]
                result.append(exact * jnp.sum(batch.fractions).astype(values.dtype))
            return result

        corrected = risk.accumulate(moments)
    return tuple(
        RotatedBlock(
            input_vectors=u, output_vectors=v, values=values, name=block.name, leaves=block.leaves
        )
        for block, ((_, u), (_, v)), values in zip(blocks, bases, corrected, strict=True)
    )


def _moments(
    records: Records,
    u: Float[Array, "columns columns"],
    v: Float[Array, "rows rows"] | None,
    num_rows: int,
    weights: Float[Array, " examples"],
) -> Float[Array, "rows columns"]:
    """The weighted sum over examples and columns of the squared entries of V^T G U, where G is the
    gradient in the weight matrix."""
    rotated = [record.rotated(u, v) for record in records]
    first = rotated[0]
    weights = weights.astype(first.gradients.dtype)
    if len(rotated) == 1 and isinstance(first, Recorded) and first.inputs.shape[1] == 1:
        # G has rank 1, and its squared entries are products.
        squares = _sum_of_squares(first.gradients[:, :, 0]) * weights[:, None]
        moments = squares.T @ first.inputs[:, 0] ** 2
        return moments.T if first.transposed else moments

    def add(total: Array, example: tuple[list[tuple[Array, Array]], Array]) -> tuple[Array, None]:
        own, weight = example
        parts = [record.matrix(*pair) for record, pair in zip(rotated, own, strict=True)]
        return total + weight * _sum_of_squares(jax.tree.reduce(jnp.add, parts)), None

    zeros = jnp.zeros((num_rows, u.shape[0]), first.gradients.dtype)
    pairs = [(record.seen, record.gradients.swapaxes(0, 1)) for record in rotated]
    # One example after the other, because each G is as large as the weight matrix of the layer.
    return jax.lax.scan(add, zeros, (pairs, weights))[0]


def _sum_of_squares(x: Float[Array, "columns ..."]) -> Float[Array, "..."]:
    """The squared entries, summed over the columns of the output factor."""
    # XLA sums over an outer axis number by number on CPU, in four times the time of the rotation.
    zeros = jnp.zeros(x.shape[1:], x.dtype)
    return jax.lax.scan(lambda total, column: (total + column**2, None), zeros, x)[0]
