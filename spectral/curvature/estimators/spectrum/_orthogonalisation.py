"""What a Lanczos iteration does against the loss of orthogonality."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...._base._scaling import exponent_of, times_power
from .._units import ScaledProduct
from ._tridiagonal import rounding_of, Tridiagonal, tridiagonalise


class AbstractOrthogonalisation(eqx.Module):
    """What keeps the vectors of a Lanczos iteration orthogonal."""

    @abstractmethod
    def tridiagonal(
        self,
        product: ScaledProduct,
        start: Float[Array, " dim"],
        order: int,
        *,
        key: PRNGKeyArray,
        index: Int[Array, ""],
    ) -> Tridiagonal:
        """The Lanczos iteration from a unit vector."""


class Full(AbstractOrthogonalisation):
    """Every new vector is orthogonalised twice against all earlier ones.

    No eigenvalue is found twice, so all questions can be asked of the spectrum. `order` vectors are
    in memory. When the Krylov space ends, the iteration continues from a new random vector.
    """

    def tridiagonal(
        self,
        product: ScaledProduct,
        start: Float[Array, " dim"],
        order: int,
        *,
        key: PRNGKeyArray,
        index: Int[Array, ""],
    ) -> Tridiagonal:
        return tridiagonalise(product, start, order, key=key, index=index)[0]


class NoOrthogonalisation(AbstractOrthogonalisation):
    """The three-term recurrence alone, in memory of at most four vectors for any order.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Lanczos, Matrix, NoOrthogonalisation

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    lanczos = Lanczos(order=10, orthogonalisation=NoOrthogonalisation())
    epsilon_rank(lanczos(matrix, key=jax.random.key(0)), 0.5).value  # about 9
    ```

    The recurrence orthogonalises a new vector against the two before it. Once an eigenvalue far
    from the others is found, rounding brings its eigenvector back, and the iteration finds it again
    (Paige 1980). These copies share the weight of the eigenvalue. The tridiagonal matrix is that of
    an exact iteration for a larger matrix, whose eigenvalues lie in small intervals about those of
    the given one (Greenbaum 1989; Greenbaum and Strakos 1992). So its nodes and weights remain a
    quadrature: sums over weights stay right, counts of nodes do not. Copies take up products, so
    the rest of the spectrum is resolved later: compare two orders.

    **What the spectrum says.** The intervals that are proven are much wider than those that are
    seen. So the bounds of a mass are not rigorous. They are those of the larger matrix, with a
    `tolerance` of 10 sqrt(order) eps max ||A q|| for the place of an eigenvalue (of which a
    thirtieth was needed, at order 100) and sqrt(eps) for the mass (a fiftieth). The residual of a
    node is 2.5 (|beta_m s_m| + tolerance), after the bound of Paige (1980) for a node that has
    converged. The spectrum has `copies`: `extremes` returns one eigenvalue at each end and
    raises an error for more. `extreme_eigenpairs`, `matrix_function` and `Deflated` need the
    vectors and always orthogonalise.

    When the Krylov space ends, the iteration ends, and nodes without weight fill the order. Where
    rounding hides the end, copies follow, and the spectrum is not marked as `exhausted`.

    There is no form between the two. Selective orthogonalisation (Parlett and Scott 1979) removes
    the Ritz vectors that have converged. Each of them is a sum over all vectors of the iteration,
    so these stay in memory, or all products are computed again. Orthogonalisation against a window
    of recent vectors does not keep those Ritz vectors out. Both would only remove the copies, which
    leave the distribution as it is.
    """

    def tridiagonal(
        self,
        product: ScaledProduct,
        start: Float[Array, " dim"],
        order: int,
        *,
        key: PRNGKeyArray,
        index: Int[Array, ""],
    ) -> Tridiagonal:
        del key, index  # there is no restart
        rounding = rounding_of(start.dtype)

        def body(carry, step: Int[Array, ""]):
            before, q, beta, scale, exponent = carry
            image = product(q, exponent)
            excess = jnp.where(step == 0, exponent_of(image), 0)
            image, exponent = times_power(image, -excess), exponent + excess
            scale = jnp.maximum(scale, jnp.linalg.norm(image))
            w = image - beta * before
            alpha = q @ w
            w = w - alpha * q
            # Once more, because w may be short: without this, copies appear earlier. The same with
            # `before` would gain little and need one more vector in memory.
            w = w - (q @ w) * q
            beta = jnp.linalg.norm(w)
            ended = beta <= rounding * scale
            # After the end all vectors are zero, and so are their products.
            new = jnp.where(ended, 0, w / jnp.where(ended, 1, beta))
            beta = jnp.where(ended, 0, beta)
            return (q, new, beta, scale, exponent), (alpha, beta, ended)

        zero = jnp.zeros((), start.dtype)
        # There is no vector before the first, so it is multiplied by 0. Zeros would be one more.
        init = start, start, zero, zero, jnp.zeros((), jnp.int32)
        (*_, scale, exponent), (alpha, beta, ended) = jax.lax.scan(body, init, jnp.arange(order))
        # The step in which the space ends is the last with a row of its own.
        dimensions = jnp.minimum(order, 1 + jnp.sum(~ended))
        return Tridiagonal(
            diagonal=jnp.where(jnp.arange(order) < dimensions, alpha, alpha[0]),
            off_diagonal=beta[:-1],
            leads_out=beta[-1],
            exhausted=jnp.any(ended),
            tolerance=order**0.5 * rounding * scale,
            dimensions=dimensions,
            exponent=exponent,
            copies=True,
        )
