"""The spectrum of a matrix whose eigenvalues are products."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from ._spectrum import AbstractSpectrum, Mass


_BINS = 200


class KroneckerSpectrum(AbstractSpectrum):
    """Eigenvalues that are all products of two lists of numbers, for each of several blocks.

    The lists are ascending, and no number is negative. Counting takes a binary search in the longer
    list for each number of the shorter one, and a mean the memory of the longer one: the products
    are never written out. There is one "probe". Everything is exact but for rounding: the bounds of
    a mass differ from its value by the eigenvalues within `tolerance` of the threshold.

    `quadrature` gives a histogram of 200 bins: one for what cannot be told from 0, the others of
    equal width in the logarithm of the eigenvalue. Their weights are exact counts, divided by
    `dim`, and their nodes the means of the eigenvalues inside.
    """

    factors: tuple[tuple[Float[Array, " _"], Float[Array, " _"]], ...]  # longer and shorter list
    tolerance: Float[Array, ""]
    dim: int = eqx.field(static=True)

    def mean(
        self, function: Callable[[Float[Array, " nodes"]], Float[Array, " nodes"]]
    ) -> Float[Array, " probes"]:
        def total(longer: Float[Array, " longer"], shorter: Float[Array, " shorter"]) -> Array:
            return jnp.sum(jax.lax.map(lambda number: jnp.sum(function(longer * number)), shorter))

        # Divided before they are added, as the sums of eigenvalues may be large.
        totals = jnp.stack([total(*pair) / self.dim for pair in self.factors])
        return jnp.sum(totals, keepdims=True)

    def mass_above(self, threshold: Real[ArrayLike, ""]) -> Mass:
        share = lambda shift: (self.dim - self._count(threshold + shift, "right")) / self.dim
        return self._mass(share(self.tolerance), share(0), share(-self.tolerance))

    def mass_below(self, threshold: Real[ArrayLike, ""]) -> Mass:
        share = lambda shift: self._count(threshold + shift, "left") / self.dim
        return self._mass(share(-self.tolerance), share(0), share(self.tolerance))

    def range(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        ends = lambda n: jnp.stack([longer[n] * shorter[n] for longer, shorter in self.factors])
        return jnp.min(ends(0)), jnp.max(ends(-1))

    def quadrature(self) -> tuple[Float[Array, "probes nodes"], Float[Array, "probes nodes"]]:
        top = self.range()[1]
        least = jnp.where(top > 0, self.tolerance / jnp.where(top > 0, top, 1), 1)
        edges = (top * jnp.geomspace(least, 1, _BINS)).astype(top.dtype)
        # All are up to the last edge, whatever rounding says of the largest.
        count = jnp.append(self._count(edges[:-1], "right"), self.dim)
        total = jnp.append(self._total_up_to(edges[:-1]), self.dim * self.mean(lambda x: x))
        count, total = jnp.diff(count, prepend=0), jnp.diff(total, prepend=0)
        lower = jnp.concatenate([jnp.zeros_like(edges[:1]), edges[:-1]])
        nodes = jnp.clip(total / jnp.maximum(count, 1), lower, edges)
        weights = jnp.where(jnp.isfinite(top), count / self.dim, jnp.nan)
        return nodes.astype(top.dtype)[None], weights.astype(top.dtype)[None]

    def _count(
        self, thresholds: Real[ArrayLike, "*thresholds"], side: Literal["left", "right"]
    ) -> Int[Array, "*thresholds"]:
        """Eigenvalues below each threshold ("left"), or not above it ("right")."""
        within = lambda longer, shorter: _search(longer, shorter, thresholds, side).sum(axis=-1)
        return jnp.asarray(sum(within(*pair) for pair in self.factors))

    def _total_up_to(self, thresholds: Float[Array, " thresholds"]) -> Float[Array, " thresholds"]:
        """The sum of the eigenvalues not above each threshold."""

        def within(longer: Float[Array, " longer"], shorter: Float[Array, " shorter"]) -> Array:
            totals = jnp.cumsum(jnp.concatenate([jnp.zeros_like(longer[:1]), longer]))
            return totals[_search(longer, shorter, thresholds, "right")] @ shorter

        return jnp.asarray(sum(within(*pair) for pair in self.factors))

    def _mass(self, lower: Array, value: Array, upper: Array) -> Mass:
        known = jnp.all(jnp.isfinite(jnp.stack(self.range())))
        lower, value, upper = (jnp.where(known, x, jnp.nan)[None] for x in (lower, value, upper))
        return Mass(jnp.minimum(lower, value), value, jnp.maximum(upper, value))


def _search(
    longer: Float[Array, " longer"],
    shorter: Float[Array, " shorter"],
    thresholds: Real[ArrayLike, "*thresholds"],
    side: Literal["left", "right"],
) -> Int[Array, "*thresholds shorter"]:
    """How many numbers of the longer list have a product with each of the shorter one that is below
    the threshold, or not above it."""
    t = jnp.asarray(thresholds, longer.dtype)[..., None]
    factor = jnp.expand_dims(shorter, range(t.ndim - 1))
    # With a factor of 0 all products are 0: all of them count, or none.
    zero = jnp.where(t > 0 if side == "left" else t >= 0, jnp.inf, -jnp.inf)
    quotient = jnp.where(factor > 0, t / jnp.where(factor > 0, factor, 1), zero)
    return jnp.searchsorted(longer, quotient, side=side)
