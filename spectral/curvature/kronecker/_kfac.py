"""Kronecker-factored approximate curvature."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..operators._output_factor import AbstractOutputFactor, Exact
from ..risk._parameters import structure_of
from ..risk._risk import Part, Risk
from ._capture import capture, find_layers, Layer, Seen
from ._kronecker import AbstractKronecker, FactoredBlock
from ._sharing import AbstractSharing, Expand


class KFAC(AbstractKronecker):
    """Kronecker-factored approximate curvature: for each layer, the matrix B kron A.

    Rows of [W, b] are vectorised one after the other. A is the second moment of the inputs of the
    layer, with a 1 for the bias; B that of the gradients in its outputs. They stand for the
    diagonal block of the layer in the Gauss-Newton matrix (with `Exact()`) or Fisher matrix of the
    same risk, the mean over examples of the product (paper, equation (5)). Blocks off the diagonal
    are left out.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, KFAC, KroneckerEigh, Risk, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (10, 3))
    kfac = KFAC(Risk(forward, SoftmaxCrossEntropy(), inputs, jnp.zeros(10, int)), model)
    kfac.trace(), kfac.log_det(damping=1e-3)
    kfac.eigenvalues()["layers.0"]  # [16]
    kfac.inverse(damping=1e-3).mv(kfac.mv(eqx.filter(model, eqx.is_array)))
    spectrum = KroneckerEigh()(kfac, key=jax.random.key(2))
    epsilon_rank(spectrum, 0.1).value
    ```

    **Arguments:**

    - `risk`: a `Risk`. Its network must be made of `eqx.nn.Linear`, `eqx.nn.Conv` and
        `spectral.models.Convolution` layers that are called with one example each, as under the
        `vmap` of `forward`; so are `MLP`, `ConvNet` and `ResNet18` of `spectral.models`.
    - `params`: the network. To hold a part of it constant, cut it with `eqx.partition`, pass the
        parameters, and combine the two inside `forward`.
    - `factor`: as for `Fisher`, by default `Exact()`.
    - `sharing`: for layers that act at several positions (convolutions, and layers called more
        than once): `Expand()`, the default, or `Reduce()`.

    Conventions, with N examples and S positions: A is (1/N) times the sum of a a^T over examples
    and positions, B is 1/(N S) times the sum of g g^T over examples, columns of the output factor
    and positions; with `Reduce()`, a is a mean and g a sum over positions and S is 1. A layer that
    is called several times has the positions of all its calls.

    Scale and shift of `BatchNorm`, `LayerNorm`, `GroupNorm` and `RMSNorm` have no two factors.
    Their block is exact: A is the block itself, and B is 1. Parameters that the outputs do not
    depend on have rows of zeros. BatchNorm belongs in inference mode. The factors are computed,
    compiled, when the operator is made, in the memory of the activations and patches of one batch
    for each column of the output factor.

    For reinforcement learning, see `GaussNewton` for what this matrix is and for the loss to give.

    **Raises:** `ValueError` naming the layer if the network cannot be seen through: a layer is
    called in a loop or an inner `vmap`, other parameters influence the outputs (weights that are
    used without calling their layer included), or a layer is given in part.

    See Martens and Grosse (2015), Grosse and Martens (2016), Eschenhagen et al. (2023), Dangel et
    al. (2025).
    """

    blocks: tuple[FactoredBlock, ...]
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
        self.blocks = factorise(risk, params, factor, sharing)

    @property
    def rest(self) -> Float[Array, ""]:
        return jnp.zeros((), self.dtype)


@eqx.filter_jit
def factorise(
    risk: Risk, params: PyTree, factor: AbstractOutputFactor, sharing: AbstractSharing
) -> tuple[FactoredBlock, ...]:
    """The Kronecker factors of every layer, accumulated over the parts of the risk."""
    layers = find_layers(risk, params)

    def sums(part: Part) -> list[tuple[Array, Array]]:
        found = pulled_back(risk, params, layers, factor, part)
        return [_sums(layer, sharing.shared(seen), part) for layer, seen in found]

    with jax.default_matmul_precision("highest"):
        factors = risk.accumulate(sums)
    return tuple(
        FactoredBlock(inputs=a, outputs=b, name=layer.name, leaves=layer.leaves)
        for layer, (a, b) in zip(layers, factors, strict=True)
    )


def pulled_back(
    risk: Risk,
    params: PyTree,
    layers: tuple[Layer, ...],
    factor: AbstractOutputFactor,
    part: Part,
) -> list[tuple[Layer, Seen]]:
    """What passes each layer when the columns of the output factor are pulled back."""
    outputs, seen = capture(risk, params, layers, part)
    columns = factor.columns(risk.loss, outputs, part.targets, part.rows)
    return list(zip(layers, seen(columns), strict=True))


def _sums(layer: Layer, seen: Seen, part: Part) -> tuple[Array, Array]:
    """What the examples of one part contribute to A and B."""
    of_inputs = part.weights[:, None, None]
    of_gradients = part.weights[None, :, None, None]
    if not layer.calls:  # of one row of weights the block is exact
        block = second_moment(seen.gradients, of_gradients)
        return block, jnp.sum(part.weights, keepdims=True)[:, None].astype(block.dtype)
    positions = seen.inputs.shape[1]
    a = second_moment(seen.inputs, of_inputs)
    return a, second_moment(seen.gradients, of_gradients / positions)


def second_moment(
    rows: Float[Array, "*axes entries"], weights: Float[Array, "..."]
) -> Float[Array, "entries entries"]:
    """The weighted sum of the outer products of rows with themselves, in float32 at least."""
    wide = in_single(rows)
    flat = (wide * jnp.sqrt(weights).astype(wide.dtype)).reshape(-1, rows.shape[-1])
    return flat.T @ flat


def in_single(x: Array) -> Array:
    """Half precision is not enough for sums over many examples."""
    return x.astype(jnp.result_type(x, jnp.float32))
