"""KFAC with the eigenvalues that are best in its own basis."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._blas import single_threaded_blas
from ..operators._output_factor import AbstractOutputFactor, Exact
from ..risk._parameters import structure_of
from ..risk._risk import Part, Risk
from ._capture import find_layers, Seen
from ._kfac import factorise, in_single, pulled_back
from ._kronecker import AbstractKronecker, RotatedBlock
from ._sharing import AbstractSharing, Expand


class EKFAC(AbstractKronecker):
    """Kronecker-factored curvature with corrected eigenvalues.

    The eigenvectors of each block are those of `KFAC`, products of the eigenvectors of B and A. Its
    eigenvalues are the second moments of the gradients along them, which are the diagonal of the
    exact block in this basis. No other eigenvalues bring the block nearer to the exact one in
    Frobenius norm, so `EKFAC` is at least as near as `KFAC`; and its trace is that of the exact
    matrix.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import EKFAC, kfac_error, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (10, 3))
    risk = Risk(forward, SquaredError(), inputs, jnp.zeros((10, 2)))
    ekfac = EKFAC(risk, model)
    kfac_error(risk, model, approximation=EKFAC)  # {"layers.0": ..., "layers.1": ...}
    ```

    **Arguments:** those of `KFAC`, with the same conventions. The gradients are those of whole
    examples, summed over positions, whatever `sharing` says of the factors. The data are passed
    twice, and the eigenvalues are as many numbers as there are parameters.

    **Raises:** `ValueError` as `KFAC` does.

    See George et al. (2018).
    """

    blocks: tuple[RotatedBlock, ...]
    like: PyTree[jax.ShapeDtypeStruct]

    def __init__(
        self,
        risk: Risk,
        params: PyTree,
        *,
        factor: AbstractOutputFactor | None = None,
        sharing: AbstractSharing | None = None,
    ):
        self.like = structure_of(params)
        factor = Exact() if factor is None else factor
        sharing = Expand() if sharing is None else sharing
        with single_threaded_blas():
            self.blocks = jax.block_until_ready(_correct(risk, params, factor, sharing))

    @property
    def rest(self) -> Float[Array, ""]:
        return jnp.zeros((), self.dtype)


@eqx.filter_jit
def _correct(
    risk: Risk, params: PyTree, factor: AbstractOutputFactor, sharing: AbstractSharing
) -> tuple[RotatedBlock, ...]:
    layers = find_layers(risk, params)
    blocks = factorise(risk, params, factor, sharing)
    with jax.default_matmul_precision("highest"):
        bases = [block.eigenvectors() for block in blocks]

        def moments(part: Part) -> list[Array]:
            found = pulled_back(risk, params, layers, factor, part)
            result = []
            for (layer, seen), ((values, u), (_, v)) in zip(found, bases, strict=True):
                if layer.calls:
                    result.append(_moments(seen, u, v, part.weights))
                else:  # the block is exact; divided among the parts
                    result.append(values[None] * jnp.sum(part.weights).astype(values.dtype))
            return result

        corrected = risk.accumulate(moments)
    return tuple(
        RotatedBlock(
            input_vectors=u, output_vectors=v, values=values, name=block.name, leaves=block.leaves
        )
        for block, ((_, u), (_, v)), values in zip(blocks, bases, corrected, strict=True)
    )


def _moments(
    seen: Seen,
    u: Float[Array, "inputs inputs"],
    v: Float[Array, "outputs outputs"],
    weights: Float[Array, " examples"],
) -> Float[Array, "outputs inputs"]:
    """The weighted sum over examples and columns of the squared entries of V^T G U, with G the
    gradient in the matrix of weights."""
    inputs, gradients = in_single(seen.inputs) @ u, in_single(seen.gradients) @ v
    weights = weights.astype(inputs.dtype)
    if inputs.shape[1] == 1:  # G has rank 1, and its squared entries are products
        squares = jnp.sum(gradients[:, :, 0] ** 2, axis=0) * weights[:, None]
        return squares.T @ inputs[:, 0] ** 2

    def add(total: Array, example: tuple[Array, Array, Array]) -> tuple[Array, None]:
        a, g, weight = example
        return total + weight * jnp.sum((g.swapaxes(1, 2) @ a[None]) ** 2, axis=0), None

    zeros = jnp.zeros((v.shape[0], u.shape[0]), inputs.dtype)
    # One example after the other: G has as many numbers for each as the layer has weights.
    return jax.lax.scan(add, zeros, (inputs, gradients.swapaxes(0, 1), weights))[0]
