"""Stochastic Lanczos quadrature."""

from dataclasses import KW_ONLY

from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._units import ScaledProduct
from ._orthogonalisation import AbstractOrthogonalisation, Full
from ._quadrature import AbstractLanczosQuadrature
from ._tridiagonal import Tridiagonal


class Lanczos(AbstractLanczosQuadrature):
    """Estimates a spectrum by stochastic Lanczos quadrature.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Lanczos, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.5).value  # about 9
    ```

    **Arguments:**

    - `order`: products with the matrix for each vector, and nodes of its quadrature; by default the
        smaller of 100 and the dimension. The order sets the resolution. Outliers are found first.
        Between them, the resolution is about the range of the other eigenvalues divided by `order`.
    - `num_vectors`: the number of independent random vectors, which sets the standard error. One
        vector on the sphere counts r of dim eigenvalues with a relative standard deviation of
        sqrt(2 / r). A standard error needs at least two vectors.
    - `distribution`: the distribution of the vectors: `Sphere()`, `Rademacher()` or `Normal()`.
    - `orthogonalisation`: `Full()`, the default, or `NoOrthogonalisation()`, which takes the memory
        of at most four vectors for any order. Then the iteration finds the outliers again and
        again. Their weights still have the right sums, but the rest is resolved later, and the
        bounds are not rigorous.
    - `mesh`: a `jax.sharding.Mesh` with one axis, over whose devices the vectors are divided. Each
        device then needs the memory for the whole matrix and one vector. By default all vectors run
        on one device. The numbers are those of one device to rounding.

    The vectors run one after the other, each in memory of `order * dim` numbers. Every new vector
    of the iteration is orthogonalised twice against all earlier ones. The Krylov space of a
    collapsed network has only a few dimensions. When it ends, the iteration continues from a new
    random vector, which adds nodes without weight, and marks the spectrum as `exhausted`. It ends
    when the next off-diagonal entry is at most 10 eps max ||A q||, the `tolerance` of the spectrum:
    what remains is rounding.

    The products run in the dtype of the parameters. The eigenvalue problems of the tridiagonal
    matrices are always solved in float64. Compared with an iteration in float64 from the same
    vectors, the weight beyond epsilon = 0.1 of a bulk on [0, 0.3] below ten outliers changed by
    1e-5, 5e-5 and 4e-4 with outliers up to 1e2, 1e3 and 1e4 (order 100). Solved in float32, it
    changed by 1e-4, 1e-3 and 3e-2.

    Everything is compiled, also outside `jax.jit`, and compiled again only for an operator of other
    shapes or other functions. See Ubaru, Chen and Saad (2017) for the method and Golub and Van Loan
    (2013), section 10.3, for the iteration.

    **Raises:** `ValueError` if `order` or `num_vectors` is not a positive integer, if `mesh` has
    several axes or more devices than vectors, and when called if `order` is larger than
    `operator.dim`, or if there is a `mesh` and the matrix belongs to `Batches` or `Sharded`.
    """

    _: KW_ONLY
    orthogonalisation: AbstractOrthogonalisation = Full()

    def tridiagonal(
        self,
        product: ScaledProduct,
        vector: Float[Array, " dim"],
        length: Float[Array, ""],
        order: int,
        *,
        key: PRNGKeyArray,
        index: Int[Array, ""],
    ) -> Tridiagonal:
        start = vector / length
        return self.orthogonalisation.tridiagonal(product, start, order, key=key, index=index)
