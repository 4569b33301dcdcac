"""The Lanczos iteration, and the eigenvalue problem of its tridiagonal matrix."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._base._scaling import exponent_of, times_power
from ...._eigh import eigh
from .._units import ScaledProduct
from .._vectors import Sphere, vector_key


_ROWS = 16  # the basis is skipped in blocks of this many rows while they are empty
_Blocks = tuple[Float[Array, "_ dim"], ...]


class Tridiagonal(eqx.Module):
    """V A V^T for orthonormal rows V, and the size of what A maps out of their span.

    All fields in the units of an eigenvalue are divided by 2^exponent, so that they are of the
    order of 1 for any matrix.
    """

    diagonal: Float[Array, " order"]
    off_diagonal: Float[Array, " order-1"]
    leads_out: Float[Array, ""]  # the off-diagonal entry that the next row would have
    exhausted: Bool[Array, ""]  # the vectors A^k v span at most these dimensions
    tolerance: Float[Array, ""]  # the size of rounding
    dimensions: Int[Array, ""]  # rows beyond them are fillers
    exponent: Int[Array, ""]
    # The rows of V are orthonormal only nearby, so an eigenvalue may have several Ritz values.
    copies: bool = eqx.field(static=True, default=False)


class Ritz(eqx.Module):
    """Eigenpairs of a tridiagonal matrix, ascending, in its units."""

    values: Float[Array, " order"]
    vectors: Float[Array, "order order"]  # columns
    # The norm of A y - theta y, infinite for fillers; if there are copies, a bound for the distance
    # from an eigenvalue.
    residuals: Float[Array, " order"]


def tridiagonalise(
    product: ScaledProduct,
    start: Float[Array, " dim"],
    order: int,
    *,
    key: PRNGKeyArray,
    index: int | Int[Array, ""],
    project: Callable[[Float[Array, " dim"]], Float[Array, " dim"]] = lambda vector: vector,
    dimensions: int | Int[Array, ""] | None = None,
    exponent: int | Int[Array, ""] = 0,
) -> tuple[Tridiagonal, Float[Array, "order dim"]]:
    """Runs the Lanczos iteration from a unit vector, and restarts it when its Krylov space ends.

    Returns the tridiagonal matrix and the rows V, which take nearly all of the memory.

    The matrix is the product followed by `project`, an orthogonal projection onto a space with this
    number of `dimensions` that contains `start`. By default it is the whole space. Rows beyond the
    dimensions are zero, and their diagonal entries repeat the first one, a value within the range
    of the eigenvalues.

    The unit of the result is the power of two next to the largest entry of the first product.
    `exponent` is a first guess of its exponent.
    """
    dim, dtype = start.size, start.dtype
    dimensions = dim if dimensions is None else dimensions
    rounding = rounding_of(dtype)

    def remove(basis: _Blocks, w: Float[Array, " dim"], step: Int[Array, ""]):
        return project(_orthogonal_part(basis, w, step))

    def restart(basis: _Blocks, step: Int[Array, ""]) -> Float[Array, " dim"]:
        w = Sphere()(dim, dtype, key=vector_key(key, index, draw=step + 1))
        return _unit(remove(basis, _unit(remove(basis, w, step)), step))

    def body(carry, step: Int[Array, ""]):
        basis, q, scale, exponent = carry
        basis = _with_row(basis, q, step)
        w = project(product(q, exponent))
        excess = jnp.where(step == 0, exponent_of(w), 0)
        w, exponent = times_power(w, -excess), exponent + excess
        alpha, scale = q @ w, jnp.maximum(scale, jnp.linalg.norm(w))
        w = remove(basis, remove(basis, w, step), step)
        beta = jnp.linalg.norm(w)
        ended = (beta <= rounding * scale) | (step + 1 >= dimensions)
        # After the very last step there is no direction left for a restart.
        q = jax.lax.cond(
            ended & (step + 1 < jnp.minimum(dimensions, order)),
            lambda: restart(basis, step),
            lambda: jnp.where(ended, 0, w / jnp.where(ended, 1, beta)),
        )
        return (basis, q, scale, exponent), (alpha, jnp.where(ended, 0, beta), ended)

    starts = range(0, order, _ROWS)
    empty = tuple(jnp.zeros((min(_ROWS, order - i), dim), dtype) for i in starts)
    init = empty, start, jnp.zeros((), dtype), jnp.asarray(exponent, jnp.int32)
    (basis, _, scale, exponent), (alpha, beta, ended) = jax.lax.scan(body, init, jnp.arange(order))
    tridiagonal = Tridiagonal(
        diagonal=jnp.where(jnp.arange(order) < dimensions, alpha, alpha[0]),
        off_diagonal=beta[:-1],
        leads_out=beta[-1],
        exhausted=jnp.any(ended),
        tolerance=rounding * scale,
        dimensions=jnp.asarray(dimensions),
        exponent=exponent,
    )
    return tridiagonal, jnp.concatenate(basis)


def rounding_of(dtype: DTypeLike) -> float:
    """What remains of a product beyond the end of the Krylov space, relative to the matrix."""
    # A worst-case bound has a further factor sqrt(order). With that factor, a bulk 1e-5 times as
    # wide as the outliers would count as breakdown. For a largest eigenvalue of 1e4, that bulk is
    # everything that is counted at epsilon = 0.1.
    return 10 * float(jnp.finfo(dtype).eps)


def ritz(matrix: Tridiagonal) -> Ritz:
    """Solves the eigenvalue problem of a tridiagonal matrix, in float64 for any dtype."""
    # The matrix is graded, with the outliers first. A float32 solver has an absolute error of eps
    # times the largest eigenvalue, which would move weight between neighbouring nodes of the bulk.
    # One LAPACK call of this size costs next to nothing, on any device and with x64 on or off.
    dtype = matrix.diagonal.dtype
    with jax.enable_x64(True):
        d, e = matrix.diagonal.astype(jnp.float64), matrix.off_diagonal.astype(jnp.float64)
        full = jnp.diag(d) + jnp.diag(e, 1) + jnp.diag(e, -1)
        values, vectors = eigh(full)
        values, vectors = values.astype(dtype), vectors.astype(dtype)
    # The fillers are decoupled from the other rows, and so are their eigenvectors.
    own = jnp.arange(values.size) < matrix.dimensions
    filled = jnp.sum(jnp.where(own[:, None], 0, vectors**2), axis=0) > 0.5
    residuals = jnp.abs(matrix.leads_out * vectors[-1])
    if matrix.copies:
        # A filler repeats the first diagonal entry, whose residual is the entry next to it.
        first = jnp.append(matrix.off_diagonal, matrix.leads_out)[0]
        residuals = jnp.where(filled, first, residuals)
        residuals = 2.5 * (residuals + matrix.tolerance)
    else:
        residuals = jnp.where(filled, jnp.inf, residuals)
    return Ritz(values, vectors, residuals)


def _orthogonal_part(
    basis: _Blocks, w: Float[Array, " dim"], step: Int[Array, ""]
) -> Float[Array, " dim"]:
    """`w` without its components along rows 0 to `step`."""
    rest = w
    for i, block in enumerate(basis):
        # Rows that are not filled yet are zero. Reading them would take half of the time of the
        # orthogonalisation, which dominates for small networks.
        reached = step >= i * _ROWS
        reduce = lambda r, b=block: r - (b @ w) @ b
        rest = jax.lax.cond(reached, reduce, lambda r: r, rest)
    return rest


def _with_row(basis: _Blocks, row: Float[Array, " dim"], step: Int[Array, ""]) -> _Blocks:
    """The basis with the row of index `step` set."""
    place, offset = step // _ROWS, step % _ROWS
    blocks = []
    for i, block in enumerate(basis):
        # Every block writes one row, and all but one write back their own: a branch would copy
        # whole blocks.
        own = jax.lax.dynamic_slice_in_dim(block, offset, 1)
        new = jnp.where(place == i, row[None], own)
        blocks.append(jax.lax.dynamic_update_slice_in_dim(block, new, offset, axis=0))
    return tuple(blocks)


def _unit(vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
    return vector / jnp.linalg.norm(vector)
