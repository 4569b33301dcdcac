"""KFAC with the best eigenvalues for its eigenvectors."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._precision import in_single
from ..operators._output_factor import AbstractOutputFactor, EXACT
from ..operators._single_threaded import jit_single_threaded
from ..risk._check_risk import check_risk
from ..risk._parameters import structure_of
from ..risk._risk import ExampleBatch, Risk
from ._blocks import RotatedBlock
from ._capture import find_layers, Recorded
from ._chosen import choose_layers
from ._factorise import factorise, pulled_back
from ._kronecker import AbstractKronecker
from ._layout import Layout
from ._sharing import AbstractSharing, EXPAND


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
    examples and are summed over positions, for any `sharing`. The data are processed twice, and
    there is one eigenvalue for each parameter. With `separate_bias` the eigenvectors are those of
    `KFAC` with `separate_bias`.

    **Raises:** `ValueError` as `KFAC` does.

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
    blocks = factorise(risk, params, factor, sharing, separate_bias)
    with jax.default_matmul_precision("highest"):
        bases = [block.eigenvectors() for block in blocks]

        def moments(batch: ExampleBatch) -> list[Array]:
            found = pulled_back(risk, params, layers, factor, batch, separate_bias=separate_bias)
            result = []
            for (layer, recorded), ((values, u), (_, v)) in zip(found, bases, strict=True):
                if layer.calls:
                    result.append(_moments(recorded, u, v, batch.weights))
                else:  # the block is exact; each batch contributes its weight
                    result.append(values[None] * jnp.sum(batch.fractions).astype(values.dtype))
            return result

        corrected = risk.accumulate(moments)
    return tuple(
        RotatedBlock(
            input_vectors=u, output_vectors=v, values=values, name=block.name, leaves=block.leaves
        )
        for block, ((_, u), (_, v)), values in zip(blocks, bases, corrected, strict=True)
    )


def _moments(
    recorded: Recorded,
    u: Float[Array, "inputs inputs"],
    v: Float[Array, "outputs outputs"],
    weights: Float[Array, " examples"],
) -> Float[Array, "outputs inputs"]:
    """The weighted sum over examples and columns of the squared entries of V^T G U, where G is the
    gradient in the weight matrix."""
    inputs, gradients = in_single(recorded.inputs) @ u, in_single(recorded.gradients) @ v
    weights = weights.astype(inputs.dtype)
    if inputs.shape[1] == 1:  # G has rank 1, and its squared entries are products
        squares = jnp.sum(gradients[:, :, 0] ** 2, axis=0) * weights[:, None]
        return squares.T @ inputs[:, 0] ** 2

    def add(total: Array, example: tuple[Array, Array, Array]) -> tuple[Array, None]:
        a, g, weight = example
        return total + weight * jnp.sum((g.swapaxes(1, 2) @ a[None]) ** 2, axis=0), None

    zeros = jnp.zeros((v.shape[0], u.shape[0]), inputs.dtype)
    # One example after the other, because each G is as large as the weight matrix of the layer.
    return jax.lax.scan(add, zeros, (inputs, gradients.swapaxes(0, 1), weights))[0]
