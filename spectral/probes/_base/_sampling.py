"""What several probes look at: activations and the loss on examples of the present task."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._arguments import check_count
from ..._types import Learner
from ...curvature import Risk
from ...models import activations_by_unit
from ...tasks import AbstractTaskStream, Split
from ._probe import AbstractProbe


class AbstractSamplingProbe(AbstractProbe):
    """A probe that looks at some examples of the present task, from one split of its data.

    **Raises:** `ValueError` if `num_examples` is not a positive integer.
    """

    num_examples: eqx.AbstractVar[int]
    split: eqx.AbstractVar[Split]

    def __check_init__(self):
        check_count("num_examples", self.num_examples)


def sample_taps(
    learner: Learner,
    stream: AbstractTaskStream,
    stream_state: Any,
    num_examples: int,
    split: Split,
    *,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """Activations of every hidden layer on `num_examples` examples, in inference mode."""
    sample_key, forward_key = jax.random.split(key)
    batch = stream.sample(stream_state, learner, num_examples, split, key=sample_key)
    _, aux = stream.forward(
        learner.model, learner.model_state, batch, key=forward_key, inference=True
    )
    if not aux.taps:
        raise ValueError(
            "The model shows no activations: return them by layer as the second of its results, "
            "`(outputs, taps)`, or leave this probe out."
        )
    return aux.taps


def sample_units(
    learner: Learner,
    stream: AbstractTaskStream,
    stream_state: Any,
    num_examples: int,
    split: Split,
    *,
    key: PRNGKeyArray,
) -> list[Array]:
    """The same, `[examples, units, ...]` for each layer: where a unit has several activations, as
    with `CReLU`, these are further axes. Networks that do not describe their units have one unit
    for each activation."""
    taps = sample_taps(learner, stream, stream_state, num_examples, split, key=key)
    return list(activations_by_unit(learner.model, taps).values())


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
    num_examples: int,
    split: Split,
    *,
    key: PRNGKeyArray,
    batch_size: int | None = None,
) -> Risk:
    """The stream's criterion on `num_examples` examples, without penalties and in inference mode,
    as a function of the network; `batch_size` examples in one pass, which must divide
    `num_examples`."""
    sample_key, forward_key = jax.random.split(key)
    batch = stream.sample(stream_state, learner, num_examples, split, key=sample_key)
    forward = StreamForward(stream, learner.model_state, forward_key)
    own = stream.output_loss()
    loss = StreamCriterion(stream) if own is None else own
    return Risk(forward, loss, batch, batch, batch_size=batch_size)


def fractions(marked: list[Bool[Array, " _"]]) -> dict[str, Array]:
    """The fraction of marked units among all units and in each layer."""
    return {
        "fraction": jnp.mean(jnp.concatenate(marked), dtype=float),
        "by_layer": jnp.stack([jnp.mean(layer, dtype=float) for layer in marked]),
    }
