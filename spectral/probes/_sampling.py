"""What several probes look at: activations and the loss on examples of the present task."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .._types import Learner
from ..tasks import AbstractTaskStream, Split


def sample_taps(
    learner: Learner,
    stream: AbstractTaskStream,
    stream_state: Any,
    n: int,
    split: Split,
    *,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """Activations of every hidden layer on `n` examples, in inference mode."""
    sample_key, forward_key = jax.random.split(key)
    batch = stream.sample(stream_state, learner, n, split, key=sample_key)
    _, aux = stream.forward(
        learner.model, learner.model_state, batch, key=forward_key, inference=True
    )
    if not aux.taps:
        raise ValueError(
            "The model shows no activations: return them by layer as the second of its results, "
            "`(outputs, taps)`, or leave this probe out."
        )
    return aux.taps


def sample_loss(
    learner: Learner,
    stream: AbstractTaskStream,
    stream_state: Any,
    n: int,
    split: Split,
    *,
    key: PRNGKeyArray,
) -> tuple[Callable[[PyTree], Float[Array, ""]], PyTree]:
    """The stream's criterion on `n` examples as a function of the parameters, without penalties
    and in inference mode, and the present parameters."""
    sample_key, forward_key = jax.random.split(key)
    batch = stream.sample(stream_state, learner, n, split, key=sample_key)
    params, static = eqx.partition(learner.model, eqx.is_inexact_array)

    def loss(params: PyTree) -> Float[Array, ""]:
        outputs, _ = stream.forward(
            eqx.combine(params, static),
            learner.model_state,
            batch,
            key=forward_key,
            inference=True,
        )
        return stream.criterion(outputs, batch)[0]

    return loss, params


def shares(marked: list[Bool[Array, " units"]]) -> dict[str, Array]:
    """The share of marked units among all units and in each layer."""
    return {
        "fraction": jnp.mean(jnp.concatenate(marked), dtype=float),
        "by_layer": jnp.stack([jnp.mean(layer, dtype=float) for layer in marked]),
    }
