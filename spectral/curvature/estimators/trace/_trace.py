"""The trace of any matrix, from random products with it."""

from collections.abc import Callable
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray
from matfree import stochtrace

from ...._arguments import as_int
from ...operators._operator import AbstractOperator
from ...spectra._estimate import Estimate, standard_error
from .._over_vectors import check_vector_mesh, over_vectors
from ._leave_one_out import leave_one_out
from ._random_products import AbstractRandomProducts


class Hutchinson(AbstractRandomProducts):
    """Estimates a trace as the mean of v . A v over vectors of random signs (Hutchinson 1990).

    This takes `num_samples` products, one after the other, in the memory of one. The standard error
    is that of independent samples and falls with the root of `num_samples`. If a few eigenvalues
    hold most of the trace, `XTrace` is far more accurate.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Hutchinson, Matrix

    matrix = Matrix(jnp.ones((50, 50)))
    Hutchinson(num_samples=20)(matrix, key=jax.random.key(0))  # an Estimate
    ```

    **Arguments:**

    - `num_samples`: the number of vectors.
    - `mesh`: as for `Lanczos`.

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2, and for `mesh` as
    `Lanczos` does.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=100, converter=as_int)
    mesh: Mesh | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_vector_mesh(self.mesh, "num_samples", self.num_samples)

    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        product = operator.flat_product()

        def form(key: PRNGKeyArray) -> Float[Array, ""]:
            signs = jax.random.rademacher(key, (operator.dim,), operator.dtype)
            return signs @ product(signs)

        keys = jax.random.split(key, self.num_samples)
        forms = over_vectors(form, keys, operator, self.mesh)
        return Estimate(value=jnp.mean(forms), sem=standard_error(forms))


class XTrace(AbstractRandomProducts):
    """Estimates the trace of any symmetric matrix by XTrace (Epperly, Tropp and Webber 2024).

    A low-rank approximation from random products takes the large eigenvalues exactly. The rest is
    estimated from the same vectors. Each vector is left out once, so the estimate is unbiased. This
    takes 2 `num_samples` + 1 products, and memory of about 5 `num_samples` vectors. The computation
    is matfree's.

    The estimates with one vector left out depend on one another. The standard error is their
    standard deviation over the root of `num_samples`, a heuristic of the source that is too small:
    with 10 samples of four matrices of dimension 100 it was 0.7 to 0.9 times the true one, and the
    95 % interval covered the truth in 79 to 93 % of 200 runs. If 2 `num_samples` reaches the
    dimension, the diagonal is computed entry by entry, and the standard error is 0.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Matrix, XTrace

    matrix = Matrix(jnp.ones((50, 50)))
    XTrace(num_samples=10)(matrix, key=jax.random.key(0))  # an Estimate
    ```

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=20, converter=as_int)

    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        integrand = stochtrace.leave_one_out_xtrace()
        return _leave_one_out(operator, key, self.num_samples, integrand, rank=2 * self.num_samples)


class XNysTrace(AbstractRandomProducts):
    """Estimates the trace of a positive semi-definite matrix by XNysTrace (Epperly et al. 2024).

    Like `XTrace`, but with a Nystrom approximation, which takes `num_samples` + 1 products, about
    half of those of `XTrace`. Use it for `GaussNewton`, `Fisher` and `Gram`. For a matrix with
    negative eigenvalues, such as most Hessians, the estimate is wrong without any warning. The
    computation is matfree's. The standard error was 0.6 to 0.9 times the true one, and the 95 %
    interval covered the truth in 74 to 92 % of the same runs. It is 0 if `num_samples` reaches the
    dimension.

    **Raises:** `ValueError` if `num_samples` is not an integer of at least 2.
    """

    _: KW_ONLY
    num_samples: int = eqx.field(static=True, default=20, converter=as_int)

    def estimate(self, operator: AbstractOperator, key: PRNGKeyArray) -> Estimate:
        integrand = stochtrace.leave_one_out_xnystrace()
        return _leave_one_out(operator, key, self.num_samples, integrand, rank=self.num_samples)


def _leave_one_out(
    operator: AbstractOperator, key: PRNGKeyArray, num_samples: int, integrand: Callable, rank: int
) -> Estimate:
    return leave_one_out(
        operator, key, num_samples, integrand=integrand, exact=jnp.trace, rank=rank, in_turn=True
    )
