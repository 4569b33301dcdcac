"""Stochastic Lanczos quadrature."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._arguments import check_count
from .._blas import single_threaded_blas
from ._operator import AbstractOperator
from ._spectrum import Spectrum


class Lanczos(eqx.Module):
    """Estimate a spectrum by stochastic Lanczos quadrature.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Hessian, Lanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))  # eigenvalues 0, 1, 4, ...
    spectrum = Lanczos(order=10)(hessian, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.5).value  # about 9
    ```

    **Arguments:**

    - `order`: products with the matrix per probe, which are the nodes of the quadrature; cut to
        `operator.dim`. It sets the resolution: between the outliers, which are found first,
        about the range of the other eigenvalues divided by `order`.
    - `probes`: independent random vectors, uniform on the sphere. They set the standard error:
        one probe counts r of dim eigenvalues with a relative standard deviation of sqrt(2 / r).
        Two at least are needed for a standard error.

    Probes run one after the other, each in memory of `order * dim` numbers. Every vector is
    orthogonalised twice against all before it, without which float32 finds the outliers again and
    again. A collapsed network has a Krylov space of a few dimensions; where it ends, the iteration
    goes on from a new random vector, which adds nodes without weight, and marks the spectrum as
    `exhausted`. It ends when the next off-diagonal entry is at most 10 eps max ||A q||, the
    `tolerance` of the spectrum: what is left is then rounding.

    The products run in the dtype of the parameters, the eigenvalue problems of the tridiagonal
    matrices always in float64. Against an iteration in float64 from the same vectors, the weight
    beyond epsilon = 0.1 of a bulk on [0, 0.3] below ten outliers moved by 1e-5, 5e-5 and 4e-4 with
    outliers up to 1e2, 1e3 and 1e4 (order 100); solved in float32 by 1e-4, 1e-3 and 3e-2.

    Everything is compiled, also when called outside `jax.jit`, and compiled anew only for an
    operator of other shapes or other functions. See Ubaru, Chen and Saad (2017) for the method and
    Golub and Van Loan (2013), section 10.3, for the iteration.

    **Raises:** `ValueError` if `order` or `probes` is not a positive integer.
    """

    order: int = eqx.field(static=True, default=100)
    probes: int = eqx.field(static=True, default=3)

    def __check_init__(self):
        check_count("order", self.order)
        check_count("probes", self.probes)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Estimate the spectrum of `operator`; probe i starts from `sphere_probe(key, i, ...)`."""
        with single_threaded_blas():
            # Computation is asynchronous: wait for it, for the limit on the threads ends here.
            return jax.block_until_ready(_estimate(self, operator, key))


def sphere_probe(
    key: PRNGKeyArray, probe: int | Int[Array, ""], dim: int, dtype: DTypeLike
) -> Float[Array, " dim"]:
    """The unit vector, uniform on the sphere, from which probe number `probe` starts."""
    return _sphere(_draw(key, probe, 0), dim, dtype)


def _draw(
    key: PRNGKeyArray, probe: int | Int[Array, ""], number: int | Int[Array, ""]
) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.fold_in(key, probe), number)


def _sphere(key: PRNGKeyArray, dim: int, dtype: DTypeLike) -> Float[Array, " dim"]:
    return _unit(jax.random.normal(key, (dim,), dtype))


def _unit(vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
    return vector / jnp.linalg.norm(vector)


@eqx.filter_jit
def _estimate(lanczos: Lanczos, operator: AbstractOperator, key: PRNGKeyArray) -> Spectrum:
    order, dim, dtype = min(lanczos.order, operator.dim), operator.dim, operator.dtype
    with jax.default_matmul_precision("highest"):
        product = operator.flat_product()

        def run(probe: Int[Array, ""]):
            restarts = lambda step: _sphere(_draw(key, probe, step + 1), dim, dtype)
            return _tridiagonalise(product, sphere_probe(key, probe, dim, dtype), order, restarts)

        diagonal, beta, exhausted, tolerance = jax.lax.map(run, jnp.arange(lanczos.probes))
    nodes, first, last = jax.vmap(_ritz)(diagonal, beta[:, :-1])
    return Spectrum(
        nodes=nodes,
        weights=first**2 / jnp.sum(first**2, axis=1, keepdims=True),
        residuals=jnp.abs(beta[:, -1:] * last),
        diagonal=diagonal,
        off_diagonal=beta[:, :-1],
        exhausted=exhausted,
        tolerance=tolerance,
        dim=dim,
    )


def _ritz(
    diagonal: Float[Array, " order"], off_diagonal: Float[Array, " order-1"]
) -> tuple[Float[Array, " order"], Float[Array, " order"], Float[Array, " order"]]:
    """Eigenvalues of a tridiagonal matrix, and the first and last entries of its eigenvectors."""
    # The matrix is graded, outliers first: the absolute error of a float32 solver, eps times the
    # largest eigenvalue, would move weight between the neighbouring nodes of the bulk. One LAPACK
    # call of this size costs next to nothing, on any device and whether or not x64 is enabled.
    dtype = diagonal.dtype
    with jax.enable_x64(True):
        d, e = diagonal.astype(jnp.float64), off_diagonal.astype(jnp.float64)
        matrix = jnp.diag(d) + jnp.diag(e, 1) + jnp.diag(e, -1)
        nodes, vectors = jnp.linalg.eigh(matrix, symmetrize_input=False)
        return nodes.astype(dtype), vectors[0].astype(dtype), vectors[-1].astype(dtype)


def _tridiagonalise(
    product: Callable[[Float[Array, " dim"]], Float[Array, " dim"]],
    start: Float[Array, " dim"],
    order: int,
    restarts: Callable[[Int[Array, ""]], Float[Array, " dim"]],
) -> tuple[Float[Array, " order"], Float[Array, " order"], Bool[Array, ""], Float[Array, ""]]:
    """Diagonal and off-diagonal (with the entry that leads out of the matrix), and breakdown."""
    # The factor sqrt(order) that a worst case would add finds breakdown in a bulk 1e-5 times as
    # wide as the outliers: at a largest eigenvalue of 1e4, all that is counted at epsilon = 0.1.
    rounding = 10 * jnp.finfo(start.dtype).eps

    def remove(basis: Float[Array, "order dim"], w: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return w - (basis @ w) @ basis  # rows that are not filled yet are zero

    def restart(basis: Float[Array, "order dim"], step: Int[Array, ""]) -> Float[Array, " dim"]:
        return _unit(remove(basis, _unit(remove(basis, restarts(step)))))

    def body(carry, step: Int[Array, ""]):
        basis, q, scale = carry
        basis = jax.lax.dynamic_update_slice_in_dim(basis, q[None], step, axis=0)
        w = product(q)
        alpha, scale = q @ w, jnp.maximum(scale, jnp.linalg.norm(w))
        w = remove(basis, remove(basis, w))
        beta = jnp.linalg.norm(w)
        ended = beta <= rounding * scale
        # After the last step of all there may be no direction left to restart in.
        q = jax.lax.cond(
            ended & (step + 1 < order),
            lambda: restart(basis, step),
            lambda: w / jnp.where(ended, 1, beta),
        )
        return (basis, q, scale), (alpha, jnp.where(ended, 0, beta), ended)

    basis = jnp.zeros((order, start.size), start.dtype)
    init = basis, start, jnp.zeros((), start.dtype)
    (_, _, scale), (alpha, beta, ended) = jax.lax.scan(body, init, jnp.arange(order))
    return alpha, beta, jnp.any(ended), rounding * scale
