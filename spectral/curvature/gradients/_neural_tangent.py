"""The spectrum of the empirical neural tangent kernel."""

from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..._eigh import eigh
from ..operators._example_gradients import example_gradients
from ..operators._single_threaded import jit_single_threaded
from ..risk._check_risk import check_risk
from ..risk._convex import Convex
from ..risk._risk import Risk
from ..spectra._spectrum import known_spectrum, Spectrum


def neural_tangent_spectrum(risk: Risk, params: PyTree, *, all_outputs: bool = False) -> Spectrum:
    """Every eigenvalue of J J^T / N, with J the Jacobian of the outputs in the parameters.

    Two matrices have this name. By default a row of J is the gradient of the sum of the outputs for
    one example, and the matrix has N rows. With `all_outputs` each output has a row of its own: for
    half the squared error the nonzero eigenvalues are then those of `GaussNewton`. (Gradients of
    the loss give a third matrix, that of `gradient_products`.) Labels are not used.

    The kernel and its eigenvalues are computed in float64 for any dtype of the parameters and with
    `jax_enable_x64` off: the smallest eigenvalue loses all digits in float32 once it is below 1e-7
    times the largest. The rows of J are in the dtype of the parameters, which leaves an error of
    that precision in the singular values of J.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import extremes, neural_tangent_spectrum, Risk, SquaredError

    def forward(w, inputs):
        return w[1] * jax.nn.relu(w[0] * inputs)

    inputs = jnp.array([[1.0], [2.0]])
    risk = Risk(forward, SquaredError(), inputs, inputs)
    spectrum = neural_tangent_spectrum(risk, jnp.ones(2))
    extremes(spectrum).largest  # 5, and the smallest is 0
    ```

    **Arguments:**

    - `risk`, `params`: as for `GaussNewton`.
    - `all_outputs`: which kernel. That of the sum takes one gradient of all examples and the memory
        of N vectors like the parameters; that of all outputs takes as much for each output.

    **Raises:** `ValueError` as `example_gradients` does.
    """
    check_risk(risk, params)
    return _spectrum(risk, params, all_outputs)


@jit_single_threaded
def _spectrum(risk: Risk, params: PyTree, every: bool) -> Spectrum:
    def rows(direction: Float[Array, " outputs"]) -> PyTree[Float[Array, "examples ..."]]:
        along = Risk(
            risk.forward,
            Convex(_Along(direction)),
            risk.inputs,
            risk.targets,
            batch_size=risk.batch_size,
            batch_dependent=risk.batch_dependent,
        )
        return example_gradients(along, params)

    shapes = eqx.filter_eval_shape(lambda: risk.outputs(params, risk.batch(jnp.arange(1))))
    width = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    directions = jnp.eye(width) if every else jnp.ones((1, width))
    gradients = jax.tree.leaves(jax.lax.map(rows, directions))
    dtype = jnp.result_type(*gradients)
    with jax.enable_x64(True):
        wide = [g.reshape(-1, g[0, 0].size).astype(jnp.float64) for g in gradients]
        products = [jnp.matmul(g, g.T, precision="highest") for g in wide]
        kernel = reduce(jnp.add, products) / risk.num_examples
        eigenvalues = jnp.maximum(eigh(kernel)[0], 0).astype(dtype)
    fractions = jnp.full_like(eigenvalues, 1 / eigenvalues.size)
    return known_spectrum(eigenvalues, fractions, eigenvalues.size)


class _Along(eqx.Module):
    """The sum of the outputs of each example, weighted by a direction."""

    direction: Float[Array, " outputs"]

    def __call__(self, outputs: PyTree, targets: PyTree) -> Float[Array, " examples"]:
        own = jax.vmap(lambda z: ravel_pytree(z)[0])(outputs)
        return own @ self.direction.astype(own.dtype)
