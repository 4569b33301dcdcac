"""What an estimator returns, and what every question is asked of."""

import equinox as eqx
from jaxtyping import Array, Bool, Float


class Spectrum(eqx.Module):
    """Quadrature for the spectrum of a matrix: one discrete measure per probe.

    A probe is a random vector v of length 1. The measure it sees puts the mass (v . u)^2 on the
    eigenvalue of each eigenvector u; its mean over the sphere puts 1 / dim on every eigenvalue.
    The nodes and weights of a probe integrate polynomials of degree up to 2 order - 1 against its
    measure exactly (Golub and Meurant 2010, chapter 6).

    The nodes are eigenvalues of the tridiagonal matrix with `diagonal` and `off_diagonal`, which
    is kept so that it can be solved again elsewhere. Weights are pure numbers; everything else is
    in the units of an eigenvalue.
    """

    nodes: Float[Array, "probes order"]  # Ritz values, ascending
    weights: Float[Array, "probes order"]  # sum to 1 for each probe
    # The norm of A y - theta y, with y the Ritz vector: an eigenvalue lies within it of the node.
    residuals: Float[Array, "probes order"]
    diagonal: Float[Array, "probes order"]
    off_diagonal: Float[Array, "probes order-1"]
    # The vectors A^k v span no more than order dimensions: the quadrature is the measure itself.
    exhausted: Bool[Array, " probes"]
    tolerance: Float[Array, " probes"]  # rounding: smaller differences of eigenvalues mean nothing
    dim: int = eqx.field(static=True)  # rows of the matrix
