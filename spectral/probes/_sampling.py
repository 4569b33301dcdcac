"""What several probes look at: activations and the loss on examples of the present task."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .._types import Learner
from ..curvature import Risk
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


class StreamForward(eqx.Module):
    """The outputs that a stream's forward pass gives, in inference mode, as a `Risk` takes it."""

    stream: AbstractTaskStream
    model_state: eqx.nn.State | None
    key: PRNGKeyArray

    def __call__(self, model: PyTree, batch: PyTree) -> PyTree:
        outputs, _ = self.stream.forward(
            model, self.model_state, batch, key=self.key, inference=True
        )
        return outputs


class StreamCriterion(eqx.Module):
    """The criterion of a stream without its metrics, as a `Risk` takes it."""

    stream: AbstractTaskStream

    def __call__(self, outputs: PyTree, batch: PyTree) -> Float[Array, ""]:
        return self.stream.criterion(outputs, batch)[0]


def sample_risk(
    learner: Learner,
    stream: AbstractTaskStream,
    stream_state: Any,
    n: int,
    split: Split,
    *,
    key: PRNGKeyArray,
    chunk: int | None = None,
) -> Risk:
    """The stream's criterion on `n` examples, without penalties and in inference mode, as a
    function of the network; `chunk` examples in one pass, which must divide `n`."""
    sample_key, forward_key = jax.random.split(key)
    batch = stream.sample(stream_state, learner, n, split, key=sample_key)
    forward = StreamForward(stream, learner.model_state, forward_key)
    return Risk(forward, StreamCriterion(stream), batch, batch, chunk=chunk)


def shares(marked: list[Bool[Array, " units"]]) -> dict[str, Array]:
    """The share of marked units among all units and in each layer."""
    return {
        "fraction": jnp.mean(jnp.concatenate(marked), dtype=float),
        "by_layer": jnp.stack([jnp.mean(layer, dtype=float) for layer in marked]),
    }
