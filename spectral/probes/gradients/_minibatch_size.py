"""The number of examples in a gradient step of the training."""

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._types import Clock
from .._base._sampler import Sampler


def training_minibatch_size(sampler: Sampler) -> int:
    """The number of examples in a minibatch that the stream collects. Nothing is computed."""
    zero = jnp.asarray(0)
    clock = Clock(step=zero, step_in_chunk=zero, chunk=zero, task=zero)
    collect = lambda: sampler.stream.collect(
        sampler.stream_state, sampler.learner, clock, key=jax.random.key(0)
    )
    _, chunk, _ = eqx.filter_eval_shape(collect)
    return jax.tree.leaves(chunk.items)[0].shape[1]
