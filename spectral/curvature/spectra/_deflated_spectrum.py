"""A spectrum of which some eigenvalues are known individually."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from ..._arguments import as_int
from ._spectrum import AbstractSpectrum, best_over_vectors, Spectrum, TailMass


class DeflatedSpectrum(AbstractSpectrum):
    """Eigenvalues that are known individually, and quadrature for the others.

    The `values` that are marked `known` are eigenvalues to within `margin`, all of them together:
    for k orthonormal vectors Y with A Y - Y Theta = R, there are k eigenvalues of A whose distances
    from those of Theta are at most the norm of R (Parlett 1998, section 11.5). `rest` is a spectrum
    of A on the orthogonal complement of Y. The dim - k eigenvalues there lie within the same margin
    of the remaining eigenvalues of A.

    Every vector counts a known eigenvalue in full, so it adds nothing to the standard error. Its
    bounds are equal unless the threshold is within `margin` of it. The bounds of the rest are those
    of `Spectrum`.
    """

    values: Float[Array, " candidates"]  # Ritz values, ascending
    known: Bool[Array, " candidates"]
    residuals: Float[Array, " candidates"]  # the norm of A y - theta y for each
    margin: Float[Array, ""]
    rest: Spectrum  # its weights are fractions of the rest; its tolerance is at least the margin
    dim: int = eqx.field(static=True, converter=as_int)  # rows of the whole matrix

    @property
    def exact(self) -> bool:
        return False

    def mean(
        self, function: Callable[[Float[Array, " nodes"]], Float[Array, " nodes"]]
    ) -> Float[Array, " vectors"]:
        # The function may be infinite at a value that is not known, and 0 times that is NaN.
        exact = jnp.sum(jnp.where(self.known, function(self.values), 0))
        fraction = self._fraction_of_rest()
        return exact / self.dim + jnp.where(fraction > 0, fraction * self.rest.mean(function), 0)

    def mass_above(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        return self._masses(self.values - threshold, self.rest.mass_above(threshold))

    def mass_below(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        return self._masses(-(self.values - threshold), self.rest.mass_below(threshold))

    def range(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        low, high = self.rest.range()
        return jnp.minimum(low, self.values[0]), jnp.maximum(high, self.values[-1])

    @property
    def resolved(self) -> int:
        return min(self.dim, self.rest.nodes.shape[1])

    def outermost(
        self, count: int, end: Literal["largest", "smallest"]
    ) -> tuple[Float[Array, " count"], Float[Array, " count"]]:
        # Values that are not eigenvalues move to the far end, which is never asked for.
        away = -jnp.inf if end == "largest" else jnp.inf
        known = jnp.where(self.known, self.values, away)
        rest = jnp.where(jnp.isinf(self.rest.residuals), away, self.rest.nodes)
        shape = (rest.shape[0], known.size)
        join = lambda one, other: jnp.concatenate([jnp.broadcast_to(one, shape), other], axis=1)
        # The residuals of the rest belong to the matrix without the known eigenpairs.
        residuals = join(self.residuals, self.rest.residuals + self.margin)
        return best_over_vectors(join(known, rest), residuals, count, end)

    def quadrature(self) -> tuple[Float[Array, "vectors nodes"], Float[Array, "vectors nodes"]]:
        rest_nodes, rest_weights = self.rest.quadrature()
        shape = (rest_nodes.shape[0], self.values.size)
        exact_weights = self.known / jnp.asarray(self.dim, self.values.dtype)
        nodes = jnp.concatenate([jnp.broadcast_to(self.values, shape), rest_nodes], axis=1)
        weights = jnp.concatenate(
            [jnp.broadcast_to(exact_weights, shape), self._fraction_of_rest() * rest_weights],
            axis=1,
        )
        ascending = jnp.argsort(nodes, axis=1)
        take = lambda x: jnp.take_along_axis(x, ascending, axis=1)
        return take(nodes), take(weights)

    def _fraction_of_rest(self) -> Float[Array, ""]:
        return (self.dim - jnp.sum(self.known)) / jnp.asarray(self.dim, self.values.dtype)

    def _masses(self, beyond: Float[Array, " candidates"], rest: TailMass) -> TailMass:
        """The mass of the known eigenvalues that lie `beyond` a threshold, plus that of the
        rest."""
        fraction = self._fraction_of_rest()
        count = lambda smallest: jnp.sum(self.known & (beyond > smallest)) / self.dim
        return TailMass(
            lower=count(self.margin) + fraction * rest.lower,
            value=count(0) + fraction * rest.value,
            upper=count(-self.margin) + fraction * rest.upper,
        )
