"""A network linearised at its parameters, as seen from its outputs."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...curvature import Gram, Risk, SquaredError


Outputs = Float[Array, "examples *shape"]  # noqa: F821 (ruff reads a product of two names)


class Linearisation(eqx.Module):
    """The outputs f(theta_0) of all examples, the outputs f(theta_0) - J theta_0 at theta = 0, and
    the neural tangent kernel J J^T / N, with one row for each example and output."""

    outputs: Outputs
    at_zero: Outputs
    kernel: Float[Array, "rows rows"]


def linearised(risk: Risk, params: PyTree) -> Linearisation:
    own, others = eqx.partition(params, eqx.is_inexact_array)

    def both(batch: PyTree) -> tuple[Outputs, Outputs]:
        outputs = lambda p: risk.outputs(eqx.combine(p, others), batch)
        z, change = jax.jvp(outputs, (own,), (own,))
        return z, z - change

    outputs, at_zero = risk.each(both)
    # The Hessian of half the squared distance is the identity.
    plain = Risk(
        risk.forward,
        SquaredError(),
        risk.inputs,
        jnp.zeros_like(outputs),
        batch_size=risk.batch_size,
    )
    return Linearisation(outputs, at_zero, Gram(plain, params).dense())


def weighted(risk: Risk, network: Linearisation) -> Float[Array, "columns columns"]:
    """The loss-weighted Gram matrix: the kernel multiplied on both sides by the root of the Hessian
    of each example's loss in its outputs."""
    outputs, kernel = network.outputs, network.kernel
    examples, entries = outputs.shape[0], math.prod(outputs.shape[1:])
    root = risk.loss.hessian_root(outputs, risk.targets)
    root = root.reshape(-1, examples, entries).astype(kernel.dtype)
    blocks = kernel.reshape(examples, entries, examples, entries)
    half = jnp.einsum("knc,ncmd->nkmd", root, blocks)
    whole = jnp.einsum("nkmd,lmd->nkml", half, root)
    size = examples * root.shape[0]
    return (risk.num_examples / risk.num_labels * whole).reshape(size, size)
