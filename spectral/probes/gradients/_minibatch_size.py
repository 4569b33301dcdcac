"""The number of examples in a gradient step of the training."""

import jax

from .._base._sampler import Sampler


def training_minibatch_size(sampler: Sampler) -> int:
    """The number of examples in a minibatch that the stream collects. Nothing is computed."""
    return jax.tree.leaves(sampler.collected().items)[0].shape[1]
