"""A trace from a low-rank approximation and random products with the rest."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int
from ...._base._scaling import exponent_of, times_power
from ...operators._operator import AbstractOperator
from ...spectra._estimate import Estimate, standard_error
from .._derivative import no_derivative
from ._random_products import AbstractRandomProducts


class HutchPlusPlus(AbstractRandomProducts):
    """Estimates the trace of any symmetric matrix by Hutch++ (Meyer et al. 2021).

    The products with `num_samples` random vectors span a space that holds the large eigenvalues.
    The trace on that space is computed exactly, and that on its complement is the mean over
    `num_samples` further vectors, as in `Hutchinson`. This takes 3 `num_samples` products, one
    after the other, and memory of 2 `num_samples` vectors. The further vectors do not depend on
    the space, so the estimate is unbiased and the standard error is that of independent samples,
    which `XTrace` does not have. If `num_samples` reaches the dimension, the diagonal is computed
    entry by entry, and the standard error is 0.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import HutchPlusPlus, Matrix

    matrix = Matrix(jnp.ones((50, 50)))
    HutchPlusPlus(num_samples=10)(matrix, key=jax.random.key(0))  # an Estimate
    ```

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=20, converter=as_int)

    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        if self.num_samples >= operator.dim:
            value = jnp.trace(operator.dense())
            return Estimate(value=value, sem=jnp.zeros_like(value))
        product = operator.flat_product()
        keys = jax.random.split(key, 2 * self.num_samples).reshape(2, self.num_samples)

        def image(key: PRNGKeyArray) -> Float[Array, " dim"]:
            return no_derivative(product(self._signs(operator, key)))

        images = jax.lax.map(image, keys[0])
        basis, _ = jnp.linalg.qr(times_power(images, -exponent_of(images)).T)

        def form(vector: Float[Array, " dim"]) -> Float[Array, ""]:
            return vector @ no_derivative(product(vector))

        def form_of_rest(key: PRNGKeyArray) -> Float[Array, ""]:
            signs = self._signs(operator, key)
            return form(signs - basis @ (signs @ basis))

        within = jnp.sum(jax.lax.map(form, basis.T))
        rest = jax.lax.map(form_of_rest, keys[1])
        return Estimate(value=within + jnp.mean(rest), sem=standard_error(rest))

    def _signs(self, operator: AbstractOperator, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.rademacher(key, (operator.dim,), operator.dtype)
