"""Products with the inverse of a matrix, by the method of conjugate gradients."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Real

from ..._arguments import as_int, check_above, check_count, check_representable, Count
from ..._base._scaling import exponent_of, norm, times_power
from ._operator import AbstractOperator, checked_vector, rescaled, same_structure


# lineax ends with NaN if p . A p is below 100 eps dim times r . r. So the matrix is scaled to
# entries of this power of two, and not of the order of 1.
_ROOM = 40

FlatProduct = Callable[[Float[Array, " dim"]], Float[Array, " dim"]]


class Solution(eqx.Module):
    """The x for which (A + damping I) x is near b, as `Inverse.solve` returns it."""

    value: PyTree[Float[Array, "..."]]  # x, like the vectors of the operator
    residual: Float[Array, ""]  # ||b - (A + damping I) x|| / ||b||; 0 for b = 0
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]  # the residual is at most `tolerance`


class Inverse(AbstractOperator):
    """(A + damping I)^-1 for any positive semi-definite A, by conjugate gradients.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import GaussNewton, Inverse, KFAC, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.eye(3), jnp.zeros((3, 2)))
    ggn, kfac = GaussNewton(risk, model), KFAC(risk, model)
    inverse = Inverse(ggn, 1e-2, preconditioner=kfac.inverse(1e-2))
    gradient = eqx.filter_grad(risk)(model)
    step = inverse.solve(gradient)
    step.value, step.residual, step.converged
    ```

    Each step takes one product with A, and a second one every tenth step. The iteration is that of
    lineax. It runs in units of a power of two near the entries of A, so the inverse of 2^k A with
    the damping 2^k damping is 2^-k times this one, to the bit.

    `solve` returns a solution with its error. `mv` and `product` return only the solution, so it is
    NaN unless the iteration has converged.

    **Arguments:**

    - `operator`: A, such as a `GaussNewton` or a `Fisher`. A Hessian is in general indefinite, and
        the iteration then fails unless the damping is larger than -1 times its smallest eigenvalue.
    - `damping`: in the units of an eigenvalue.
    - `preconditioner`: a positive definite operator near the inverse, on the same vectors:
        `kfac.inverse(damping)` or `kfac.factored_inverse(damping)`. It changes the number of steps,
        not the result.
    - `tolerance`: the largest relative residual that counts as converged. In float32 a residual
        below about 1e-7 times the condition number of A + damping I cannot be reached.
    - `max_steps`: the most steps that are taken.

    **Raises:** `ValueError` if `damping` or `tolerance` is not positive and finite, if `max_steps`
    is not a positive integer, or if `preconditioner` acts on vectors of another structure.
    """

    operator: AbstractOperator
    damping: Float[Array, ""]
    preconditioner: AbstractOperator | None
    tolerance: Float[Array, ""]
    max_steps: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        operator: AbstractOperator,
        damping: Real[ArrayLike, ""],
        *,
        preconditioner: AbstractOperator | None = None,
        tolerance: Real[ArrayLike, ""] = 1e-4,
        max_steps: Count = 500,
    ):
        check_above("damping", damping, 0)
        check_above("tolerance", tolerance, 0)
        for name, value in (("damping", damping), ("tolerance", tolerance)):
            if operator.dtype == jnp.float32:
                check_representable(name, value)
        check_count("max_steps", max_steps)
        if preconditioner is not None:
            own = preconditioner.structure
            if not same_structure(own, operator.structure):
                raise ValueError(
                    f"`preconditioner` acts on vectors {own}, but must act on those of `operator`, "
                    f"{operator.structure}: build both from the same parameters."
                )
        self.operator = operator
        self.damping = jnp.asarray(damping, dtype=operator.dtype)
        self.preconditioner = preconditioner
        self.tolerance = jnp.asarray(tolerance, dtype=operator.dtype)
        self.max_steps = as_int(max_steps)

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.operator.structure

    def product(self) -> Callable[[PyTree], PyTree]:
        solve = self._solver()

        def apply(vector: PyTree) -> PyTree:
            found = solve(ravel_pytree(vector)[0].astype(self.dtype))
            known = jnp.where(found.converged, found.value, jnp.nan)
            return self._like_vectors(known)

        return apply

    def solve(self, vector: PyTree) -> Solution:
        """x for b = `vector`, with its residual. As in `mv`, a vector of fewer digits is widened.

        **Raises:** `ValueError` if the vector does not have this operator's structure.
        """
        return _solve(self, checked_vector(vector, self))

    def _like_vectors(self, flat: Float[Array, " dim"]) -> PyTree:
        cast = lambda x, s: x.astype(s.dtype)
        return jax.tree.map(cast, self.unravel(flat), self.structure)

    def _solver(self) -> Callable[[Float[Array, " dim"]], Solution]:
        """The map from a flat b to its solution, which is flat too."""
        product = rescaled(self.operator)
        other = None if self.preconditioner is None else rescaled(self.preconditioner)
        shape = jax.ShapeDtypeStruct((self.dim,), self.dtype)
        linear = lambda f: lx.FunctionLinearOperator(f, shape, lx.positive_semidefinite_tag)

        def solve(vector: Float[Array, " dim"]) -> Solution:
            # b, A and the preconditioner, each in its own unit.
            of_vector = exponent_of(vector)
            b = times_power(vector, -of_vector)
            of_matrix = exponent_of(product(b, 0) + self.damping * b)
            # Steps in x are small in these units, so A is scaled before it is applied to them.
            damping = times_power(self.damping, _ROOM - of_matrix)
            scaled = lambda v: product(v, of_matrix - _ROOM) + damping * v
            length = norm(b)
            # Half of the tolerance, because the iteration updates its residual and the check below
            # computes it. The iteration compares steps in x too, which are small in these units.
            within = self.tolerance * length / 2
            cg = lx.CG(rtol=0.0, atol=within, norm=norm, max_steps=self.max_steps)  # pyright: ignore
            options = {}
            if other is not None:
                of_other = exponent_of(other(b, 0))
                unit = lambda v, other=other: other(v, of_other)
                options["preconditioner"] = linear(unit)
            with jax.numpy_rank_promotion("allow"):
                found = lx.linear_solve(linear(scaled), b, cg, options=options, throw=False)
            left = norm(b - scaled(found.value))
            residual = jnp.where(length > 0, left / jnp.where(length > 0, length, 1), 0 * left)
            return Solution(
                value=times_power(found.value, _ROOM - of_matrix + of_vector),
                residual=residual,
                num_steps=jnp.asarray(found.stats["num_steps"]),
                converged=residual <= self.tolerance,
            )

        return solve


@eqx.filter_jit
def _solve(inverse: Inverse, vector: PyTree) -> Solution:
    found = inverse._solver()(ravel_pytree(vector)[0].astype(inverse.dtype))
    return eqx.tree_at(lambda s: s.value, found, inverse._like_vectors(found.value))
