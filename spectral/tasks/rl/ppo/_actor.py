"""A network that acts in an environment."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ...._types import Aux, Learner
from ....models import apply_network, PolicyAndValue
from ..environments._environment import AbstractEnvironment
from ._running_moments import Moments


def policy_outputs(
    model: Any,
    model_state: eqx.nn.State | None,
    environment: AbstractEnvironment,
    observations: Float[Array, "examples ..."],
    *,
    inference: bool,
    key: PRNGKeyArray | None,
) -> tuple[PolicyAndValue, Aux]:
    """Apply a network to observations. Returns its policy and value.

    **Raises:** `ValueError` if the network does not return a `PolicyAndValue`, or if its actions do
    not fit the environment.
    """
    outputs, aux = apply_network(model, model_state, observations, inference=inference, key=key)
    if not isinstance(outputs, PolicyAndValue):
        raise ValueError(
            f"`model` gives outputs of type {type(outputs).__name__}, but PPO needs a "
            "`PolicyAndValue`: make an `ActorCritic`."
        )
    discrete, size = environment.discrete, environment.action_size
    sizes = {x.shape[-1] for x in jax.tree.leaves(outputs.policy)}
    action = jax.eval_shape(outputs.policy.mode)
    if sizes != {size} or action.ndim != (1 if discrete else 2):
        raise ValueError(
            f"`model` gives a {type(outputs.policy).__name__} of {sorted(sizes)} numbers, but "
            f"the environment takes {'one of' if discrete else 'a vector of'} {size}: make an "
            f"`ActorCritic` with `out_size={size}` and `discrete={discrete}`."
        )
    return outputs, aux


class Actor(eqx.Module):
    """The current policy of a learner, which acts on observations of an environment."""

    learner: Learner
    environment: AbstractEnvironment
    moments: Moments | None  # they standardise observations
    greedy: bool = eqx.field(static=True)  # take the most probable action

    def standardised(
        self, observations: Float[Array, "examples ..."]
    ) -> Float[Array, "examples ..."]:
        """Returns observations as the network sees them."""
        return observations if self.moments is None else self.moments.standardise(observations)

    def outputs(self, standardised: Float[Array, "examples ..."]) -> tuple[PolicyAndValue, Aux]:
        """Returns the policy and value for standardised observations."""
        learner = self.learner
        # Without a key, so that the recorded probabilities are those of the policy that acted.
        return policy_outputs(
            learner.model,
            learner.model_state,
            self.environment,
            standardised,
            inference=True,
            key=None,
        )

    def __call__(self, observations: Float[Array, "environments ..."], key: PRNGKeyArray) -> Array:
        """Returns an action for each environment."""
        policy = self.outputs(self.standardised(observations))[0].policy
        return policy.mode() if self.greedy else policy.sample(key=key)
