"""Theorem B.3 for two layers: the residual and its whole spectrum in closed form."""

import math

import numpy as np
from jaxtyping import Array, Float

from ..._arguments import check_above
from ...models import apply_network, DescribesUnits
from .._base._hypotheses import check_examples
from ..dead_units._layer_inputs import dense_layers
from ._number import Number


def two_layer_curvature(radius: Number) -> float:
    """Returns sqrt(1 + radius^2), an upper bound on Gamma of Theorem B.3 for a two-layer ReLU
    network with biases, for any weights, on inputs of norm at most `radius`.

    An output depends on the weights of one hidden unit only through their product. So its Hessian
    has one block for each living unit, with the eigenvalues +-||(x, 1)||. The same is true of every
    sum of outputs with coefficients u of norm 1, where the eigenvalues are +-||(x, 1)|| times the
    norm of u. So in a two-layer network Theorem B.3 holds without sqrt(O): pass `num_outputs=1` to
    `residual_bound` with this number. `two_layer_residual` is exact.

    **Raises:** `ValueError` if `radius` is negative or not finite.
    """
    check_above("radius", radius, 0, strict=False)
    return math.hypot(1.0, float(radius))


def two_layer_residual(
    model: DescribesUnits,
    inputs: Float[Array, "examples in_size"],
    gradients: Float[Array, "examples out_size"],
) -> Float[np.ndarray, "units size"]:
    """Returns the nonzero eigenvalues of the residual R of a two-layer ReLU network, up to their
    signs: R has the eigenvalues + and - each of these numbers, and otherwise zeros.

    Let g be the gradient of the loss of an example in its outputs. R connects the incoming weights
    and the bias of a hidden unit j only with its outgoing weights, by the matrix M_j = E[1(j is
    active) (x, 1) g^T]. So the eigenvalues of R are + and - the singular values of all M_j, and
    ||R|| is the largest singular value. It is at most E[||(x, 1)|| ||g||], without the factor
    sqrt(O) of Theorem B.3.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import two_layer_residual

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    inputs, targets = (jax.random.normal(jax.random.key(n), (10, 3 - n)) for n in (0, 1))
    outputs, _ = jax.vmap(model)(inputs)
    two_layer_residual(model, inputs, outputs - targets).max()  # ||R|| for half the squared error
    ```

    A pre-activation of exactly 0 counts as inactive, as in the Hessian that JAX computes.

    **Arguments:**

    - `model`: an `MLP` with one hidden layer.
    - `gradients`: g of each example, not divided by the number of examples.

    **Returns:** for each hidden unit the min(in_size + 1, out_size) singular values of M_j, largest
    first.

    **Raises:** `ValueError` as `persistence_radii`, and if the network does not have exactly one
    hidden layer.
    """
    layers = dense_layers("The closed form of R", model)
    check_examples("The closed form of R", inputs)
    if len(layers.layers) != 2:
        raise ValueError(
            f"The closed form of R has the hypothesis of one hidden layer, but `model` has "
            f"{len(layers.layers) - 1}: use `residual_norm`, or an `MLP` with `depth=1`."
        )
    taps = apply_network(layers, None, inputs, inference=True)[1].taps
    (features,) = taps.values()
    x, g = np.asarray(inputs, np.float64), np.asarray(gradients, np.float64)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    products = (x[:, :, None] * g[:, None, :]).reshape(len(x), -1)
    blocks = (np.asarray(features) > 0).astype(np.float64).T @ products / len(x)
    return np.linalg.svd(blocks.reshape(-1, x.shape[1], g.shape[1]), compute_uv=False)
