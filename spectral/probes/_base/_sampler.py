"""The examples of a probe, and what the network does on them."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import as_int
from ..._base._returned import check_arrays
from ..._keys import derive, Role
from ..._types import Chunk, Clock, Learner
from ...curvature import Risk
from ...models import activations_by_unit, has_units
from ...tasks import AbstractTaskStream, Split


class Sampler(eqx.Module):
    """Draws `num_examples` examples of the current task and evaluates the learner on them.

    Every method measures on the same examples, which `sample_key` determines. Their `key` is for
    whatever the forward pass of the stream draws. The network runs in inference mode, so BatchNorm
    uses its running statistics and dropout is off.

    **Arguments:**

    - `learner`, `stream`, `stream_state`: as a probe receives them.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data.
    - `sample_key`: the key of the examples; `boundary.sample_key` for those of all probes.
    - `initial`: the network with which the run began; `None` if it is not known.
    """

    learner: Learner
    stream: AbstractTaskStream
    stream_state: Any
    num_examples: int = eqx.field(static=True, converter=as_int)
    split: Split = eqx.field(static=True)
    sample_key: PRNGKeyArray
    initial: PyTree = eqx.field(default=None, kw_only=True)

    def examples(self) -> PyTree:
        """Returns the examples, a batch as `stream.sample` returns it."""
        found = self.stream.sample(
            self.stream_state, self.learner, self.num_examples, self.split, key=self.sample_key
        )
        check_arrays(self.stream, "sample", found)
        return found

    def resampled(self, index: Int[Array, ""] | int) -> "Sampler":
        """Returns a sampler that draws other examples for each `index`, the same for all probes."""
        return replace(self, sample_key=derive(self.sample_key, Role.SAMPLE, index))

    def collected(self) -> Chunk:
        """Returns the shapes of what the stream collects for the training at once. Nothing is
        computed."""
        zero = jnp.asarray(0)
        clock = Clock(step=zero, step_in_chunk=zero, chunk=zero, task=zero)
        collect = lambda: self.stream.collect(
            self.stream_state, self.learner, clock, key=jax.random.key(0)
        )
        _, chunk, _ = eqx.filter_eval_shape(collect)
        return chunk

    def taps(self, *, key: PRNGKeyArray) -> dict[str, Array]:
        """Returns the activations of each hidden layer, `[examples, ...]`, by its name. There are
        none if the network returns none."""
        _, aux = self.stream.forward(
            self.learner.model, self.learner.model_state, self.examples(), key=key, inference=True
        )
        return aux.taps

    def units(self, *, key: PRNGKeyArray) -> list[Array]:
        """Returns the activations of each hidden layer by unit, `[examples, units, ...]`.

        The further axes hold the activations of a unit that has several, as with `CReLU`. In a
        network that does not describe its units each activation is a unit.
        """
        return list(self.units_by_layer(key=key).values())

    def units_by_layer(self, *, key: PRNGKeyArray) -> dict[str, Array]:
        """Returns what `units` returns, under the names of the layers."""
        return activations_by_unit(self.learner.model, self.taps(key=key))

    def never_dead(self) -> dict[str, str]:
        """Returns, by layer, why its units cannot be dead. Most layers have no entry."""
        model = self.learner.model
        groups = model.units() if has_units(model) else ()
        return {group.name: group.never_dead for group in groups if group.never_dead}

    def risk(self, *, key: PRNGKeyArray, batch_size: int | None = None) -> Risk:
        """Returns the stream's criterion on the examples, without penalties, as a function of the
        network. It takes `batch_size` examples in one pass, by default all; `batch_size` must
        divide `num_examples`."""
        batch = self.examples()
        forward = StreamForward(self.stream, self.learner.model_state, key)
        own = self.stream.output_loss() if _fits_criterion(type(self.stream)) else None
        loss = StreamCriterion(self.stream) if own is None else own
        return Risk(forward, loss, batch, batch, batch_size=batch_size)


def _fits_criterion(kind: type) -> bool:
    """Whether no class has changed the criterion without the `output_loss` that stands for it."""
    definer = lambda name: next(c for c in kind.__mro__ if name in vars(c))
    return issubclass(definer("output_loss"), definer("criterion"))


class StreamForward(eqx.Module):
    """The forward pass of a stream in inference mode, in the form that `Risk` expects."""

    stream: AbstractTaskStream
    model_state: eqx.nn.State | None
    key: PRNGKeyArray

    def __call__(self, model: PyTree, batch: PyTree) -> PyTree:
        outputs, _ = self.stream.forward(
            model, self.model_state, batch, key=self.key, inference=True
        )
        return outputs


class StreamCriterion(eqx.Module):
    """The criterion of a stream without its metrics, in the form that `Risk` expects."""

    stream: AbstractTaskStream

    def __call__(self, outputs: PyTree, batch: PyTree) -> Float[Array, ""]:
        return self.stream.criterion(outputs, batch)[0]
