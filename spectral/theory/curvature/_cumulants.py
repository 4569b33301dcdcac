"""Equation (6): the error of a Kronecker factorisation as joint cumulants."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


Block = Float[Array, "inputs inputs outputs outputs"]


@jax.jit
def factorisation_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """Returns the error of equation (5) directly: E[x x^T (x) g g^T] - E[x x^T] (x) E[g g^T] for
    equally likely samples (x, g). Entry [i, j, k, l] belongs to x_i x_j g_k g_l."""
    whole = _mean("ni,nj,nk,nl->ijkl", inputs, inputs, gradients, gradients)
    a, b = _mean("ni,nj->ij", inputs, inputs), _mean("nk,nl->kl", gradients, gradients)
    return whole - jnp.einsum("ij,kl->ijkl", a, b)


def cumulant_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """Equation (6) with the right signs: chi(x, x, g, g) + E[x] chi(x, g, g) + E[x] chi(x, g, g).

    This is the `factorisation_error` in joint cumulants. Its hypotheses are E[g] = 0 and
    Cov(x, g) = 0. If E[g] = 0, the second is necessary too: the difference of both sides is the sum
    of two products of covariances, and its entry [i, i, k, k] is 2 Cov(x_i, g_k)^2.

    - Exact and sampled Fisher factors meet both, because E[g | x] = 0 if targets are drawn from the
      predictions of the network. The columns s of an `Exact()` factor become samples with this
      property as +s and -s, each multiplied by the square root of the number of columns.
    - Empirical factors, with gradients at the labels, meet both at a stationary point: the
      gradients of the mean loss in the weights and the bias of the layer are E[g x^T] and E[g].

    ```python
    import jax.numpy as jnp
    from spectral.theory import cumulant_error, factorisation_error

    # E[g | x] is not 0, but E[g] and Cov(x, g) are.
    x = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    g = jnp.array([[1.0], [-1.0], [-1.0], [1.0]])
    cumulant_error(x, g) - factorisation_error(x, g)  # 0
    ```

    **Raises:** `ValueError` naming the hypothesis that fails, if the means are above 100 times the
    rounding of their terms.
    """
    fourth, first, second = error_terms(inputs, gradients)
    return fourth + first + second


def error_terms(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> tuple[Block, Block, Block]:
    """The three terms of equation (6) without their signs: chi(x, x, g, g), and E[x] chi(x, g, g)
    with the mean of the first and of the second input.

    **Raises:** `ValueError` as `cumulant_error`.
    """
    _check_uncorrelated(inputs, gradients)
    return _error_terms(inputs, gradients)


@jax.jit
def _error_terms(inputs: Array, gradients: Array) -> tuple[Block, Block, Block]:
    mean = jnp.mean(inputs, axis=0)
    x, g = inputs - mean[None], gradients - jnp.mean(gradients, axis=0)[None]
    xx, xg, gg = _mean("ni,nj->ij", x, x), _mean("ni,nk->ik", x, g), _mean("nk,nl->kl", g, g)
    fourth = _mean("ni,nj,nk,nl->ijkl", x, x, g, g)
    # The cumulant of centred variables is the moment minus the three products of pairs.
    fourth = fourth - jnp.einsum("ij,kl->ijkl", xx, gg)
    fourth = fourth - jnp.einsum("ik,jl->ijkl", xg, xg) - jnp.einsum("il,jk->ijkl", xg, xg)
    third = _mean("ni,nk,nl->ikl", x, g, g)
    first = jnp.einsum("i,jkl->ijkl", mean, third)
    return fourth, first, jnp.einsum("j,ikl->ijkl", mean, third)


def _mean(pattern: str, *arrays: Array) -> Array:
    return jnp.einsum(pattern, *arrays, precision="highest") / arrays[0].shape[0]


def _check_uncorrelated(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> None:
    x, g = np.asarray(inputs, np.float64), np.asarray(gradients, np.float64)
    x = x - np.mean(x, axis=0)
    limit = 100 * float(jnp.finfo(gradients.dtype).eps)
    hypotheses = {"E[g] = 0": np.ones((len(x), 1)), "Cov(x, g) = 0": x}
    for hypothesis, factor in hypotheses.items():
        mean, terms = np.abs(factor.T @ g), np.abs(factor).T @ np.abs(g)
        if np.any(mean > limit * terms):
            raise ValueError(
                f"Equation (6) has the hypothesis {hypothesis}, but an entry of it for the given "
                f"`inputs` and `gradients` is {np.max(mean) / len(x):.3g}: take gradients at "
                "targets drawn from the network's predictions (all of them, or each with +g and "
                "-g), or those at the labels where the gradient of the mean loss in the layer is "
                "0."
            )
