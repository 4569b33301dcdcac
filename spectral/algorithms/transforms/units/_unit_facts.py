"""The facts about the units of a layer that a utility is computed from."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._utilities import UnitFacts


def unit_facts(
    activations: Float[Array, "examples units copies *positions"],
    centre: Float[Array, "units copies"],
    incoming: Float[Array, " units"],
    outgoing: Float[Array, " units"],
    by_position: Float[Array, "units positions"] | None,
    *,
    key: PRNGKeyArray,
) -> UnitFacts:
    """Returns the facts, with deviations from `centre`.

    `by_position` are the outgoing weights of each position; `None` if the next layer weights all
    positions of a unit alike.
    """
    others = (0, *range(3, activations.ndim))
    deviations = jnp.abs(activations - jnp.expand_dims(centre, others))
    sizes = jnp.abs(activations)
    over = (0, *range(2, activations.ndim))

    def weighted(
        values: Float[Array, "examples units copies *positions"],
    ) -> Float[Array, " units"]:
        if by_position is None:
            return outgoing * jnp.mean(values, axis=over)
        apart = jnp.mean(values, axis=(0, 2)).reshape(by_position.shape)
        return jnp.sum(by_position * apart, axis=1)

    return UnitFacts(
        activity=jnp.mean(sizes, axis=over),
        deviation=jnp.mean(deviations, axis=over),
        incoming=incoming,
        outgoing=outgoing,
        weighted_activity=weighted(sizes),
        weighted_deviation=weighted(deviations),
        key=key,
    )
