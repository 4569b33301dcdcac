"""Whether a network depends on the division into batches where it should not."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray, PyTree

from ._core import Run
from ._ensemble import Ensemble
from ._types import Learner
from .curvature import check_batch_independent
from .tasks import AbstractTaskStream


_EXAMPLES = 4


def check_independent(
    model: PyTree,
    model_state: eqx.nn.State | Ensemble | None,
    stream: AbstractTaskStream,
    run: Run | Ensemble,
    key: PRNGKeyArray | Ensemble,
) -> None:
    """Checks that in inference mode the outputs of a network for an example depend on it alone.

    Only a network with a model state can see the other examples of a batch: a stream applies others
    to one example at a time. `run` holds shapes; the examples are random numbers of the shapes that
    `stream.sample` returns. Without values, under `jax.jit`, nothing is checked.

    **Raises:** `ValueError` as `check_batch_independent`.
    """
    model, model_state, key = map(_first_member, (model, model_state, key))
    learner = model.learner if isinstance(model, Run) else model
    if isinstance(learner, Learner):
        model, model_state = learner.model, learner.model_state
    arrays = jax.tree.leaves(eqx.filter((model, model_state, stream, key), eqx.is_array_like))
    if model_state is None or any(isinstance(leaf, Tracer) for leaf in arrays):
        return
    one = run
    if isinstance(run, Ensemble):
        one = jax.tree.map(_without_members, run.stacked)
    sample = lambda run, key: stream.sample(run.stream, run.learner, _EXAMPLES, "train", key=key)
    examples = jax.tree.map(_random, eqx.filter_eval_shape(sample, one, key))
    check_batch_independent(_Inference(stream, model_state, key), model, examples)


class _Inference(eqx.Module):
    """The forward pass of a stream in inference mode."""

    stream: AbstractTaskStream
    model_state: eqx.nn.State
    key: PRNGKeyArray

    def __call__(self, model: PyTree, batch: PyTree) -> PyTree:
        return self.stream.forward(model, self.model_state, batch, key=self.key, inference=True)[0]


def _first_member(argument: Any) -> Any:
    return argument[0] if isinstance(argument, Ensemble) else argument


def _without_members(leaf: Any) -> Any:
    is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) if is_shape else leaf


def _random(leaf: Any) -> Any:
    """An array of this shape: normal numbers, zeros for integers, or true everywhere."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.asarray(np.random.default_rng(0).normal(size=leaf.shape), leaf.dtype)
    return jnp.asarray(np.full(leaf.shape, leaf.dtype == bool), leaf.dtype)
