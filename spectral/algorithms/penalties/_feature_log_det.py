"""A penalty on features that vary in few directions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import as_int, check_count
from ..._base._precision import in_single
from ..._types import Step
from .._base._arguments import as_non_negative, as_positive, Number
from .._base._protocols import AbstractPenalty


class FeatureLogDet(AbstractPenalty[None]):
    """-strength times the mean over hidden layers of log det(delta I + C).

    C is the centred Gram matrix of the activations of a layer, H^T H / n: H has a row for each of n
    examples and a column for each unit, and the mean of every column is 0. A unit that is constant,
    such as a dead one, and units that are multiples of each other give C eigenvalues of 0, each of
    which costs -log delta. Along a direction in which the features have the variance v, the
    gradient in the features is proportional to sqrt(v) / (delta + v). So it is largest at v = delta
    and 0 at v = 0: directions that are about to be lost are kept, and dead units stay dead. Unlike
    the effective rank of `algorithms.er`, the term grows with the size of the features, so
    use it with a penalty on the weights. Positions of a convolution count as examples.

    (He et al. penalise collapse by the effective rank. This penalty is ours.)

    The eigenvalues of C are those of H H^T / n, apart from zeros, so the smaller matrix is used. A
    step costs another forward pass, unless the compiler finds that of the loss to be the same, and
    the LU decomposition of that matrix for each layer.
    """

    strength: Float[Array, ""]
    delta: Float[Array, ""]
    window: int = eqx.field(static=True, converter=as_int)

    def __init__(self, strength: Number, *, delta: Number = 1e-3, window: int = 1):
        """**Arguments:**

        - `strength`: the weight of the penalty.
        - `delta`: the variance below which a direction counts as missing.
        - `window`: the examples are those of this number of minibatches of the chunk, which end
          with the minibatch of the step. The first steps of a chunk take its last minibatches too.

        **Raises:** `ValueError` for a negative strength, for a delta that is not positive, or for a
        window below one.
        """
        self.strength = as_non_negative("strength", strength)
        self.delta = as_positive("delta", delta)
        check_count("window", window)
        self.window = window

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> None:
        return None

    def value(self, model: PyTree, state: None, step: Step) -> Float[Array, ""]:
        """**Raises:** `ValueError` for a model without activations, or if there is only one row to
        centre."""
        taps = step.taps_of(model, self._batch(step), key=step.key)
        if not taps:
            raise ValueError(
                "The model returned no activations, but `FeatureLogDet` needs those of a hidden "
                "layer: return them among the taps, or leave the penalty out."
            )
        terms = [self._log_det(_rows(tap)) for tap in taps.values()]
        return -self.strength * sum(terms) / len(terms)

    def _batch(self, step: Step) -> Any:
        if self.window == 1:
            return step.batch  # the pass of the loss, for the compiler
        used = step.minibatches if step.chunk.in_use is None else step.chunk.in_use
        minibatch = (step.clock.step_in_chunk - jnp.arange(self.window)) % used
        join = lambda leaf: leaf[minibatch].reshape(-1, *leaf.shape[2:])
        return step.take(jax.tree.map(join, step.chunk.items))

    def _log_det(self, features: Float[Array, "rows units"]) -> Float[Array, ""]:
        rows, units = features.shape
        if rows == 1:
            raise ValueError(
                f"`window` is {self.window} with minibatches of one example, but a single row "
                "centred is 0: choose a window of at least 2, or larger minibatches."
            )
        centred = features - jnp.mean(features, axis=0, keepdims=True)
        smaller = centred.T @ centred if units <= rows else centred @ centred.T
        size = min(rows, units)
        found = jnp.linalg.slogdet(self.delta * jnp.eye(size) + smaller / rows)
        return found.logabsdet + (units - size) * jnp.log(self.delta)


def _rows(tap: Float[Array, "examples units *positions"]) -> Float[Array, "rows units"]:
    return in_single(jnp.moveaxis(tap, 1, -1).reshape(-1, tap.shape[1]))
