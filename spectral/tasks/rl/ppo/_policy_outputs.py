"""What a network says in an environment, if it fits there."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from ...._types import Aux
from ....models import apply_network, PolicyAndValue
from ..environments._environment import AbstractEnvironment


def policy_outputs(
    network: tuple[Any, eqx.nn.State | None],
    environment: AbstractEnvironment,
    observations: Float[Array, "examples observation"],
    *,
    inference: bool,
) -> tuple[PolicyAndValue, Aux]:
    """The policy and the value that a network and its state give for these observations.

    **Raises:** `ValueError` if they are none, or if the actions are not those of the environment.
    """
    model, model_state = network
    outputs, aux = apply_network(model, model_state, observations, inference=inference)
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
