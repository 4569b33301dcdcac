"""What an eps-rank says of the gradient: bounds from the residual on both sides of eps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from ..._arguments import check_above
from ..._blas import single_threaded_blas
from ...curvature import Risk
from .._base._hypotheses import output_shape
from ..forecast._descent import mean_loss
from ..forecast._linearisation import linearised


class ResidualSpectrum(eqx.Module):
    """The eigenvalues of the neural tangent kernel K = J J^T / N, ascending, and for each
    eigenvector u the energy <u, g>^2 / N of the gradients g of the losses in the outputs."""

    eigenvalues: Float[Array, " rows"]
    energies: Float[Array, " rows"]


def residual_spectrum(risk: Risk, params: PyTree) -> ResidualSpectrum:
    """Returns how the residual of a network lies in the eigenvectors of its kernel.

    For half the squared error g is the residual f - y, and the energies sum to 2 L. For any loss
    the gradient of the mean loss is J^T g / N, so ||grad L||^2 = sum_i lambda_i energy_i. K has a
    row for each example and output and is diagonalised, so pass at most some hundreds of examples.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import Risk, SquaredError
    from spectral.theory import residual_spectrum

    def forward(params, inputs):
        return inputs @ params

    inputs = jnp.array([[1.0, 0.0], [0.0, 0.1]])
    risk = Risk(forward, SquaredError(), inputs, jnp.ones((2, 1)))
    found = residual_spectrum(risk, jnp.zeros((2, 1)))
    found.eigenvalues, found.energies  # [0.005, 0.5], [0.5, 0.5]
    ```

    **Raises:** `ValueError` as `Gram`, and if the outputs are not one array.
    """
    output_shape("The spectrum of a residual", risk, params)
    with single_threaded_blas():
        return jax.block_until_ready(_residual_spectrum(risk, params))


@eqx.filter_jit
def _residual_spectrum(risk: Risk, params: PyTree) -> ResidualSpectrum:
    with jax.default_matmul_precision("highest"):
        network = linearised(risk, params)
        gradient = jax.grad(lambda z: risk.num_examples * mean_loss(risk, z))(network.outputs)
        values, vectors = jnp.linalg.eigh(network.kernel)
        energies = (vectors.T @ gradient.reshape(-1)) ** 2 / risk.num_examples
    # Eigenvalues below 0 are rounding errors.
    return ResidualSpectrum(jnp.maximum(values, 0), energies)


def gradient_bounds(
    eigenvalues: Real[ArrayLike, " rows"],
    energies: Real[ArrayLike, " energies"],
    *,
    epsilon: float = 0.0,
) -> tuple[float, float]:
    """Returns a lower and an upper bound on ||grad L||^2 from the energy of the residual on both
    sides of epsilon.

    ||grad L||^2 = sum_i lambda_i e_i, so its upper bound is eps E_below + lambda_max E_above,
    and its lower bound lambda_min E_below + max(eps, lambda_min) E_above. For half the squared
    error E_below is at most 2 L, which gives ||grad L||^2 <= 2 eps L + lambda_max E_above. With
    epsilon 0 they imply the Polyak-Lojasiewicz pair
    2 lambda_min L <= ||grad L||^2 <= 2 lambda_max L.

    So an eps-rank bounds progress only together with the energy above eps. If this energy is small
    the gradient is small for any eps-rank, and if all energy is above eps an eps-rank of 1
    suffices: a rank alone does not decide whether a network learns.

    ```python
    import numpy as np
    from spectral.theory import gradient_bounds

    values, energies = np.array([0.005, 0.5]), np.array([0.5, 0.5])
    gradient_bounds(values, energies, epsilon=0.1)  # (0.0525, 0.3), truth 0.2525
    ```

    **Arguments:**

    - `eigenvalues`, `energies`: as `ResidualSpectrum` has them, in any common order.
    - `epsilon`: at least 0.

    **Raises:** `ValueError` if a number is negative or not finite, or if the sizes differ.
    """
    for name, value in (("eigenvalues", eigenvalues), ("energies", energies), ("epsilon", epsilon)):
        check_above(name, value, 0, strict=False)
    values, energy = np.asarray(eigenvalues, np.float64), np.asarray(energies, np.float64)
    if values.shape != energy.shape or values.size == 0:
        raise ValueError(
            f"`eigenvalues` has the shape {values.shape} and `energies` {energy.shape}, but each "
            "eigenvalue needs its own energy: pass both from one `residual_spectrum`."
        )
    above = float(np.sum(energy[values > epsilon]))
    below = float(np.sum(energy)) - above
    smallest, largest = float(values.min()), float(values.max())
    lower = smallest * below + max(epsilon, smallest) * above
    return lower, min(epsilon, largest) * below + largest * above
