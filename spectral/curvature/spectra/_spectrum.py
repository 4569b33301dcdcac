"""The interface of all spectra, and the spectrum that consists of nodes and weights."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from ..._arguments import as_int
from ..._base._readable import readable
from ._facts import spectrum_facts


class TailMass(eqx.Module):
    """A fraction of the eigenvalues, as each vector sees it, with rigorous bounds."""

    lower: Float[Array, " vectors"]
    value: Float[Array, " vectors"]
    upper: Float[Array, " vectors"]


class AbstractSpectrum(eqx.Module):
    """What is known about the distribution of the eigenvalues of a symmetric matrix.

    Every question, such as `spectral.curvature.epsilon_rank`, is a function of these methods. A
    spectrum that was estimated with several random vectors gives one answer for each vector. A
    spectrum that is known exactly has one "vector".
    """

    dim: eqx.AbstractVar[int]  # rows of the matrix

    def __repr__(self) -> str:
        facts = spectrum_facts(self)
        if facts is None:
            return readable(self)
        return f"{type(self).__name__}({', '.join(f'{n}={v}' for n, v in facts.items())})"

    def _repr_html_(self) -> str:
        facts = spectrum_facts(self) or {"dim": self.dim}
        rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts.items())
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether the spectrum is known without random vectors, so that standard errors are 0."""

    @abstractmethod
    def mean(
        self, function: Callable[[Float[Array, " nodes"]], Float[Array, " nodes"]]
    ) -> Float[Array, " vectors"]:
        """The mean of an elementwise function over all eigenvalues."""

    @abstractmethod
    def mass_above(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        """The fraction of the eigenvalues above `threshold`; NaN if the matrix has NaN."""

    @abstractmethod
    def mass_below(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        """The fraction of the eigenvalues below `threshold`; NaN if the matrix has NaN."""

    @abstractmethod
    def range(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The smallest and the largest eigenvalue that was found."""

    @property
    @abstractmethod
    def resolved(self) -> int:
        """How many eigenvalues are known individually, counted from either end."""

    @abstractmethod
    def outermost(
        self, count: int, end: Literal["largest", "smallest"]
    ) -> tuple[Float[Array, " count"], Float[Array, " count"]]:
        """The `count` outermost eigenvalues at one end, and their residuals.

        The outermost value comes first. An eigenvalue lies within the residual of each value.
        """

    @abstractmethod
    def quadrature(self) -> tuple[Float[Array, "vectors nodes"], Float[Array, "vectors nodes"]]:
        """Nodes and weights, for records and pictures.

        The sum of the weights over the nodes is 1, or 1 on average if the vectors vary in length.
        """


class Spectrum(AbstractSpectrum):
    """Quadrature for the spectrum of a matrix: one discrete measure for each random vector.

    The measure of a vector v has the mass (v . u)^2 at the eigenvalue of each eigenvector u. Its
    mean over the vectors has the mass 1 / dim at every eigenvalue. The nodes and weights of a
    vector integrate polynomials of degree up to 2 order - 1 exactly with respect to its measure
    (Golub and Meurant 2010, chapter 6).

    The nodes are eigenvalues of the tridiagonal matrix with `diagonal` and `off_diagonal`, which
    are kept so that the matrix can be solved again elsewhere. Weights are dimensionless; all other
    fields have the units of an eigenvalue.

    The bounds of `mass_above` and `mass_below` are the inequalities of Chebyshev, Markov and
    Stieltjes (Akhiezer 1965, section 2.5; Golub and Meurant 2010). The mass on either side of a
    point between two nodes of a Gauss quadrature is bounded by the weights up to the second-nearest
    node on each side. If the Krylov space was exhausted, the measure is known and the bounds are
    equal. A threshold within `tolerance` of a node counts as lying on both sides of it. Nodes and
    weights that are not a Gauss quadrature (`gauss=False`) give no rigorous bounds: the lower bound
    is then 0 and the upper bound is everything.

    Where a Lanczos iteration does not orthogonalise, an eigenvalue may have several nodes, which
    share its weight (`copies=True`). The bounds are then wider by the root of the rounding unit,
    and not rigorous, see `NoOrthogonalisation`.
    """

    nodes: Float[Array, "vectors order"]  # Ritz values, ascending
    weights: Float[Array, "vectors order"]  # their sum is |v|^2 for each vector, 1 on the sphere
    # The norm of A y - theta y, with y the Ritz vector: an eigenvalue lies within it of the node.
    # Infinite if it is not known.
    residuals: Float[Array, "vectors order"]
    diagonal: Float[Array, "vectors order"]
    off_diagonal: Float[Array, "vectors order-1"]
    # The vectors A^k v span at most `order` dimensions, so the quadrature is the measure itself.
    exhausted: Bool[Array, " vectors"]
    tolerance: Float[Array, " vectors"]  # smaller differences of eigenvalues are rounding
    dim: int = eqx.field(static=True, converter=as_int)  # rows of the matrix
    _: KW_ONLY
    gauss: bool = eqx.field(static=True, default=True)
    whole: bool = eqx.field(static=True, default=False)  # all eigenvalues with their fractions
    copies: bool = eqx.field(static=True, default=False)  # of eigenvalues among the nodes

    @property
    def exact(self) -> bool:
        return self.whole

    def mean(
        self, function: Callable[[Float[Array, " nodes"]], Float[Array, " nodes"]]
    ) -> Float[Array, " vectors"]:
        # The function may be infinite at a node without weight, and 0 times that is NaN.
        one = lambda x, w: jnp.sum(jnp.where(w == 0, 0, w * function(x)))
        return jax.vmap(one)(self.nodes, self.weights)

    def mass_above(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        return self._masses(self.nodes[:, ::-1], self.weights[:, ::-1], threshold)

    def mass_below(self, threshold: Real[ArrayLike, ""]) -> TailMass:
        return self._masses(-self.nodes, self.weights, -jnp.asarray(threshold))

    def range(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return jnp.min(self.nodes), jnp.max(self.nodes)

    @property
    def resolved(self) -> int:
        # The nodes are chosen points, not Ritz values, or the next one may be a copy.
        if not self.gauss or self.copies:
            return 1
        return self.dim if self.exact else self.nodes.shape[1]

    def outermost(
        self, count: int, end: Literal["largest", "smallest"]
    ) -> tuple[Float[Array, " count"], Float[Array, " count"]]:
        if self.exact:  # the weight of a node times dim is the multiplicity of its eigenvalue
            inwards = slice(None, None, -1 if end == "largest" else 1)
            up_to = jnp.round(self.dim * jnp.cumsum(self.weights[0, inwards]))
            chosen = jnp.searchsorted(up_to, jnp.arange(count), side="right")
            return self.nodes[0, inwards][chosen], self.residuals[0, inwards][chosen]
        return best_over_vectors(self.nodes, self.residuals, count, end)

    def quadrature(self) -> tuple[Float[Array, "vectors nodes"], Float[Array, "vectors nodes"]]:
        return self.nodes, self.weights

    def _masses(
        self,
        nodes: Float[Array, "vectors order"],
        weights: Float[Array, "vectors order"],
        threshold: Real[ArrayLike, ""],
    ) -> TailMass:
        tail = jax.vmap(_tail, in_axes=(0, 0, 0, 0, None))
        lower, value, upper = tail(nodes, weights, self.exhausted, self.tolerance, threshold)
        if not self.gauss:
            lower, upper = jnp.zeros_like(value), jnp.sum(weights, axis=1)
        if self.copies:  # their weights sum to that of the eigenvalue up to rounding
            margin = jnp.finfo(weights.dtype).eps ** 0.5 * jnp.sum(weights, axis=1)
            lower, upper = lower - margin, upper + margin
        # Comparisons with NaN are false, so a matrix of NaN would seem to have no eigenvalues.
        known = jnp.all(jnp.isfinite(nodes), axis=1)
        lower, value, upper = (jnp.where(known, x, jnp.nan) for x in (lower, value, upper))
        # Rounding of the sums must not put the value outside its bounds.
        return TailMass(jnp.clip(lower, 0, value), value, jnp.maximum(upper, value))


def best_over_vectors(
    nodes: Float[Array, "vectors nodes"],
    residuals: Float[Array, "vectors nodes"],
    count: int,
    end: Literal["largest", "smallest"],
) -> tuple[Float[Array, " count"], Float[Array, " count"]]:
    """The k-th outermost Ritz value of any vector for each k up to `count`, and its residual.

    The value of a single vector lies no further out than the k-th eigenvalue (Cauchy interlacing).
    """
    outwards = nodes if end == "largest" else -nodes
    order = jnp.argsort(outwards, axis=1, descending=True)[:, :count]
    best = jnp.argmax(jnp.take_along_axis(outwards, order, axis=1), axis=0)  # NaN, if there is one
    chosen = order[best, jnp.arange(count)]
    return nodes[best, chosen], residuals[best, chosen]


def known_spectrum(
    eigenvalues: Float[Array, " nodes"], fractions: Float[Array, " nodes"], dim: int
) -> Spectrum:
    """An exact spectrum: ascending eigenvalues, and the fraction of `dim` that each has."""
    # The error of a backward stable solver, with the same allowance as in the Lanczos iteration.
    tolerance = 10 * jnp.finfo(eigenvalues.dtype).eps * jnp.max(jnp.abs(eigenvalues))
    nodes = eigenvalues[None]
    return Spectrum(
        nodes=nodes,
        weights=fractions[None],
        residuals=jnp.full_like(nodes, tolerance),
        diagonal=nodes,
        off_diagonal=jnp.zeros_like(nodes[:, 1:]),
        exhausted=jnp.array([True]),
        tolerance=tolerance[None],
        dim=dim,
        whole=True,
    )


def _tail(
    nodes: Float[Array, " order"],
    weights: Float[Array, " order"],
    exhausted: Bool[Array, ""],
    tolerance: Float[Array, ""],
    threshold: Real[ArrayLike, ""],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Bounds and estimate of the mass above a threshold, with the nodes in descending order.

    Let W_k be the weight of the k largest nodes, and let j nodes lie above the threshold. The mass
    above the k-th largest node, with or without the node itself, lies between W_{k-1} and W_k. The
    threshold lies between the j-th node and the next one, and the mass above a threshold decreases
    with it. So the mass lies between W_{j-1} and W_{j+1}, whether or not the threshold is itself an
    eigenvalue.
    """
    cumulative = jnp.concatenate([jnp.zeros_like(weights[:1]), jnp.cumsum(weights)])
    neighbours = jnp.where(exhausted, 0, 1)
    surely = jnp.sum(nodes > threshold + tolerance) - neighbours
    perhaps = jnp.sum(nodes > threshold - tolerance) + neighbours
    return (
        cumulative[jnp.maximum(surely, 0)],
        cumulative[jnp.sum(nodes > threshold)],
        cumulative[jnp.minimum(perhaps, nodes.size)],
    )
