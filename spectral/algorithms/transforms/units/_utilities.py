"""The utilities of hidden units that continual backpropagation can rank by."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


# Smaller than any weight. It keeps 1 / w and o / w finite for a unit without incoming weights.
_SMALLEST = 1e-12


class UnitFacts(eqx.Module):
    """The facts that a utility may use, for each unit of a layer.

    The activations h are those that the next layer sees, for example after pooling. Means are over
    the examples of the minibatch, positions and the copies of a unit.

    The weighted facts are means of |w| |h| over all outgoing weights w, with h at the position that
    w reads. If all positions have the same weights, they are the product of two means. A dense
    layer after a convolution has weights of its own for each position.
    """

    activity: Float[Array, " units"]  # mean |h|
    deviation: Float[Array, " units"]  # mean |h - f|, where f is the running mean of h
    incoming: Float[Array, " units"]  # mean |w| over the incoming weights
    outgoing: Float[Array, " units"]  # mean |w| over the outgoing weights
    weighted_activity: Float[Array, " units"]  # mean |w| |h|
    weighted_deviation: Float[Array, " units"]  # mean |w| |h - f|
    key: PRNGKeyArray


def contribution(facts: UnitFacts) -> Float[Array, " units"]:
    """outgoing x activity, at each position of the next layer."""
    return facts.weighted_activity


def zero_contribution(facts: UnitFacts) -> Float[Array, " units"]:
    """outgoing x deviation: a constant activation has no utility, as a bias could replace it."""
    return facts.weighted_deviation


def adaptable_contribution(facts: UnitFacts) -> Float[Array, " units"]:
    """outgoing x deviation / incoming: a unit with small incoming weights adapts faster."""
    return facts.weighted_deviation / jnp.maximum(facts.incoming, _SMALLEST)


def adaptation(facts: UnitFacts) -> Float[Array, " units"]:
    """1 / incoming."""
    return 1 / jnp.maximum(facts.incoming, _SMALLEST)


def outgoing_weight(facts: UnitFacts) -> Float[Array, " units"]:
    """outgoing."""
    return facts.outgoing


def feature_by_input(facts: UnitFacts) -> Float[Array, " units"]:
    """deviation / incoming."""
    return facts.deviation / jnp.maximum(facts.incoming, _SMALLEST)


def random_utility(facts: UnitFacts) -> Float[Array, " units"]:
    """Uniform on [0, 1): a control.

    `ContinualBackprop` ranks the units by the present draw, as published. The running mean of the
    draws would vary most in young units, which would be replaced more often.
    """
    return jax.random.uniform(facts.key, facts.activity.shape, facts.activity.dtype)
