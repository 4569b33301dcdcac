"""The control of an intervention: noise on the weights that moves the function equally far."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._base._sampler import Sampler


# The scales of the noise that are tried first, relative to the weights.
_SCALES = tuple(2.0**i for i in range(-20, 11))
_BISECTIONS = 30  # after which two float32 scales are neighbours


def output_distance(sampler: Sampler, *, key: PRNGKeyArray) -> Callable[[PyTree], Float[Array, ""]]:
    """Returns a function of a network: the mean squared change of its outputs from those of the
    learner, over the examples of `sampler` and the outputs, in inference mode."""
    learner, batch = sampler.learner, sampler.examples()

    def outputs(model: PyTree) -> list[Array]:
        state = jax.tree.map(lambda x: x, learner.model_state)  # a pass invalidates its own
        found, _ = sampler.stream.forward(model, state, batch, key=key, inference=True)
        return jax.tree.leaves(eqx.filter(found, eqx.is_inexact_array))

    before = outputs(learner.model)

    def distance(model: PyTree) -> Float[Array, ""]:
        changes = [(a - b) ** 2 for a, b in zip(outputs(model), before, strict=True)]
        return sum(map(jnp.sum, changes), start=jnp.zeros(())) / sum(c.size for c in changes)

    return distance


def matched_noise(
    sampler: Sampler,
    distance: Callable[[PyTree], Float[Array, ""]],
    target: Float[Array, ""],
    *,
    key: PRNGKeyArray,
) -> PyTree:
    """Returns the learner's network with Gaussian noise on all weights that moves its outputs by
    `target`, as `distance` measures it.

    The noise on an array is relative to the root mean square of the array, so arrays of zeros stay
    zero. One direction is drawn; its scale is bracketed by powers of two and bisected. The largest
    scale is 1024: it is taken if it moves the outputs less.
    """
    params, static = eqx.partition(sampler.learner.model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)
    direction = [
        jnp.sqrt(jnp.mean(leaf**2)) * jax.random.normal(jax.random.fold_in(key, i), leaf.shape)
        for i, leaf in enumerate(leaves)
    ]

    def moved(scale: Float[Array, ""]) -> PyTree:
        new = [(p + scale * d).astype(p.dtype) for p, d in zip(leaves, direction, strict=True)]
        return eqx.combine(jax.tree.unflatten(structure, new), static)

    reaches = lambda scale: distance(moved(scale)) >= target
    scales = jnp.asarray(_SCALES, float)
    first = jnp.argmax(jnp.append(jax.lax.map(reaches, scales), True))
    high = jnp.append(scales, scales[-1])[first]
    low = jnp.where(first > 0, scales[first - 1], 0)

    def halve(ends: tuple[Any, Any], _: Any) -> tuple[tuple[Any, Any], None]:
        low, high = ends
        middle = (low + high) / 2
        far = reaches(middle)
        return (jnp.where(far, low, middle), jnp.where(far, middle, high)), None

    (_, high), _ = jax.lax.scan(halve, (low, high), length=_BISECTIONS)
    return moved(jnp.where(target > 0, high, 0))
