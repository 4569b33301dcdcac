"""Kronecker-factored approximate curvature."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from ..._arguments import check_above
from ..operators._output_factor import AbstractOutputFactor, EXACT
from ..risk._check_risk import check_risk
from ..risk._parameters import structure_of
from ..risk._risk import Risk
from ._chosen import choose_layers
from ._factored_inverse import factored_inverse, FactoredInverse
from ._factorise import factorise
from ._kronecker import AbstractKronecker
from ._layout import Layout
from ._sharing import AbstractSharing, EXPAND
from .blocks._block import AbstractProducts


class KFAC(AbstractKronecker):
    """Kronecker-factored approximate curvature: for each layer, the matrix B kron A.

    [W, b] is vectorised in row-major order. A is the second moment of the inputs of the layer, with
    a 1 for the bias. B is the second moment of the gradients in its outputs. B kron A approximates
    the diagonal block of the layer in the Gauss-Newton matrix (with `Exact()`) or Fisher matrix of
    the same risk, the mean over examples of the product (paper, equation (5)). Blocks off the
    diagonal are left out.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import KFAC, Risk, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SoftmaxCrossEntropy(), jnp.eye(3), jnp.zeros(3, int))
    kfac = KFAC(risk, model)
    kfac.trace(), kfac.log_det(damping=1e-3)
    kfac.eigenvalues()["layers.0"]  # [16]
    kfac.inverse(damping=1e-3)  # an operator, for example to precondition a gradient
    ```

    **Arguments:**

    - `risk`: a `Risk`. Its network must consist of `eqx.nn.Linear`, `eqx.nn.Embedding`,
        `eqx.nn.Conv` and `spectral.models.Convolution` layers, each called with one example at a
        time, or under `jax.vmap` with one position of it, as in `eqx.nn.MultiheadAttention`. `MLP`,
        `ConvNet` and `ResNet18` of `spectral.models` satisfy this.
    - `params`: the network. To hold a part of it constant, split it with `eqx.partition`, pass the
        parameters, and combine the two inside `forward`.
    - `factor`: as for `Fisher`, by default `Exact()`.
    - `sharing`: for layers that act at several positions (convolutions, layers under `jax.vmap`,
        and layers called more than once): `Expand()`, the default, or `Reduce()`.
    - `separate_bias`: give the weight and the bias of each layer a block of their own, with the
        same B, and leave out what lies between them. The blocks are called `layers.0.weight` and
        `layers.0.bias`.
    - `layers`: paths to the layers to take, such as `("layers.0",)`, or to parts of the network
        that contain layers; by default all. The other parameters are constants: vectors have `None`
        in their place, as those of a `Block`, and they need no Kronecker factors.

    Conventions, with N examples and S positions: A is (1/N) times the sum of a a^T over examples
    and positions. B is 1/(N S) times the sum of g g^T over examples, columns of the output factor
    and positions. With `Reduce()`, a is a mean over positions, g is a sum over positions, and S is
    1. A layer that is called several times has the positions of all its calls.

    The matrix of an `eqx.nn.Embedding` is `[tokens, size]`, and its block is A kron B. A is
    diagonal: the counts of the tokens, divided by N. If an output layer shares the matrix, as
    `x @ embedding.weight.T`, `embedding.weight @ x` or by `eqx.nn.Shared`, the block is the sum of
    the Kronecker products of the two uses. It has products, a trace and a norm; `eigenvalues`,
    `log_det`, `inverse` and `factored_inverse` raise `ValueError`, and `EKFAC` has them.

    The scale and shift of `BatchNorm`, `LayerNorm`, `GroupNorm` and `RMSNorm` do not have two
    factors. Their block is exact, for both together: A is the block itself, and B is 1. So is the
    block of an array that belongs to no layer, such as a class token or a table of positions; of an
    array of more than 1,024 numbers only the diagonal is kept. Parameters that the outputs do not
    depend on have rows of zeros. BatchNorm must be in inference mode. The
    factors are computed, compiled, when the operator is constructed. This takes the memory of the
    activations and patches of one batch for each column of the output factor.

    For reinforcement learning, see `GaussNewton` for the meaning of the matrix and for the loss.

    **Raises:** `ValueError` naming the layer if a layer is called in a loop, if the weights of one
    influence the outputs without a call, if the network has no layers, if only a part of a layer is
    given, or if `layers` names no parameters. For concrete arrays also if the outputs depend on the
    division into batches, or if the targets do not fit the loss, see `Risk`.

    See Martens and Grosse (2015), Grosse and Martens (2016), Eschenhagen et al. (2023), Dangel et
    al. (2025).
    """

    blocks: tuple[AbstractProducts, ...]
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
        self.blocks = factorise(risk, params, factor, sharing, separate_bias)

    @property
    def rest(self) -> Float[Array, ""]:
        return jnp.zeros((), self.dtype)

    def factored_inverse(self, damping: Real[ArrayLike, ""]) -> FactoredInverse:
        """An approximate inverse of A + damping I, with Kronecker factors.

        `inverse` is exact. This one is the heuristic of Martens and Grosse (2015), section 6.3,
        which is common in optimisers: the block B kron A becomes
        (B + damping / alpha I)^-1 kron (A + alpha I)^-1, where alpha^2 is the damping times the
        mean eigenvalue of A over that of B. For a factor without positive eigenvalues the quotient
        is 1. If one factor is a single number, as for normalisation layers, the exact inverse has
        this form and is used. The product of the damped factors exceeds A + damping I, so this
        inverse is at most the exact one.

        **Raises:** `ValueError` if `damping` is not positive and finite.
        """
        check_above("damping", damping, 0)
        return factored_inverse(self.blocks, self.layout, jnp.asarray(damping, self.dtype))
