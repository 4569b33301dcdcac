"""The spectrum of a matrix whose eigenvalues are products."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from ..._arguments import as_int
from ._spectrum import AbstractSpectrum, TailMass


_BINS = 200
Factors = tuple[tuple[Float[Array, " _"], Float[Array, " _"]], ...]


class KroneckerSpectrum(AbstractSpectrum):
    """The eigenvalues of each of several blocks are all products of two lists of numbers.

    The lists are ascending and have no negative numbers. The products are never written out: a
    count takes a binary search in the longer list for each number of the shorter one, and a mean
    takes the memory of the longer list. There is one "vector". Everything is exact up to rounding:
    the bounds of a mass differ from its value by the eigenvalues within `tolerance` of the
    threshold.

    `quadrature` returns a histogram of 200 bins: one for eigenvalues that cannot be distinguished
    from 0, and the others of equal width in the logarithm of the eigenvalue. The weights are exact
    counts divided by `dim`, and the nodes are the means of the eigenvalues in each bin.
    """

    factors: Factors  # a longer and a shorter list for each block
    tolerance: Float[Array, ""]
    dim: int = eqx.field(static=True, converter=as_int)

    @property
    def exact(self) -> bool:
        return True

    def mean(
        self, function: Callable[[Float[Array, " nodes"]], Float[Array, " nodes"]]
    ) -> Float[Array, " vectors"]:
        def total(longer: Float[Array, " longer"], shorter: Float[Array, " shorter"]) -> Array:
            return jnp.sum(jax.lax.map(lambda number: jnp.sum(function(longer * number)), shorter))

        # Divide before adding, because the sums of eigenvalues may be large.
        totals = jnp.stack([total(*pair) / self.dim for pair in self.factors])
        return jnp.sum(totals, keepdims=True)

    def mass_above(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        shifts = self.tolerance * jnp.array([1, 0, -1])
        at = jnp.asarray(threshold) + shifts
        return self._mass(self.dim - _count(self.factors, at, "right"))

    def mass_below(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        shifts = self.tolerance * jnp.array([-1, 0, 1])
        at = jnp.asarray(threshold) + shifts
        return self._mass(_count(self.factors, at, "left"))

    def range(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        ends = lambda n: jnp.stack([longer[n] * shorter[n] for longer, shorter in self.factors])
        return jnp.min(ends(0)), jnp.max(ends(-1))

    @property
    def resolved(self) -> int:
        return self.dim

    def outermost(
        self, count: int, end: Literal["largest", "smallest"]
    ) -> tuple[Float[Array, " count"], Float[Array, " count"]]:
        # No number is negative, so the outermost products are those of the outermost numbers.
        outer = slice(-count, None) if end == "largest" else slice(count)
        products = [
            (longer[outer, None] * shorter[None, outer]).ravel() for longer, shorter in self.factors
        ]
        values = jnp.sort(jnp.concatenate(products), descending=end == "largest")[:count]
        return values, jnp.full_like(values, self.tolerance)

    def quadrature(self) -> tuple[Float[Array, "vectors nodes"], Float[Array, "vectors nodes"]]:
        return _histogram(self)

    def _mass(self, counts: Int[Array, "3"]) -> TailMass:
        known = jnp.all(jnp.isfinite(jnp.stack(self.range())))
        lower, value, upper = jnp.where(known, counts / self.dim, jnp.nan)[:, None]
        return TailMass(lower, value, upper)


# Compiled, because running the many small operations one by one is slow.
@eqx.filter_jit
def _count(
    factors: Factors, thresholds: Real[Array, " thresholds"], side: Literal["left", "right"]
) -> Int[Array, " thresholds"]:
    """The number of eigenvalues below each threshold ("left"), or not above it ("right")."""
    counts = [_search(*pair, thresholds, side).sum(axis=-1) for pair in factors]
    return jnp.asarray(sum(counts))


@eqx.filter_jit
def _histogram(
    spectrum: KroneckerSpectrum,
) -> tuple[Float[Array, "1 bins"], Float[Array, "1 bins"]]:
    top = spectrum.range()[1]
    smallest = jnp.where(top > 0, spectrum.tolerance / jnp.where(top > 0, top, 1), 1)
    edges = (top * jnp.geomspace(smallest, 1, _BINS)).astype(top.dtype)
    lower = jnp.concatenate([jnp.zeros_like(edges[:1]), edges[:-1]])

    def up_to(longer: Float[Array, " longer"], shorter: Float[Array, " shorter"]) -> Array:
        totals = jnp.cumsum(jnp.concatenate([jnp.zeros_like(longer[:1]), longer]))
        return totals[_search(longer, shorter, edges[:-1], "right")] @ shorter

    # All eigenvalues lie up to the last edge, even if rounding puts the largest beyond it.
    count = jnp.append(_count(spectrum.factors, edges[:-1], "right"), spectrum.dim)
    total = jnp.asarray(sum(up_to(*pair) for pair in spectrum.factors))
    total = jnp.append(total, spectrum.dim * spectrum.mean(lambda x: x))
    count, total = jnp.diff(count, prepend=0), jnp.diff(total, prepend=0)
    nodes = jnp.clip(total / jnp.maximum(count, 1), lower, edges)
    weights = jnp.where(jnp.isfinite(top), count / spectrum.dim, jnp.nan)
    return nodes.astype(top.dtype)[None], weights.astype(top.dtype)[None]


def _search(
    longer: Float[Array, " longer"],
    shorter: Float[Array, " shorter"],
    thresholds: Real[Array, " thresholds"],
    side: Literal["left", "right"],
) -> Int[Array, "thresholds shorter"]:
    """For each number of the shorter list, how many numbers of the longer list have a product with
    it that is below the threshold ("left"), or not above it ("right")."""
    t, factor = thresholds[:, None].astype(longer.dtype), shorter[None]
    # With a factor of 0 all products are 0, so all of them count or none.
    zero = jnp.where(t > 0 if side == "left" else t >= 0, jnp.inf, -jnp.inf)
    quotient = jnp.where(factor > 0, t / jnp.where(factor > 0, factor, 1), zero)
    return jnp.searchsorted(longer, quotient, side=side)
