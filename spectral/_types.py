"""Types that every part of the package shares."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree


# Marks optimiser state that all entries share.
_SHARED = np.False_


class Clock(eqx.Module):
    """The position of a step in the run. The loop builds it from its own counters.

    Components with a cadence branch on this clock instead of keeping their own counter. It is
    equal for all members of an ensemble, so the branch stays a branch under `jax.vmap`.
    """

    step: Int[Array, ""]  # slots for gradient steps since the start of the run
    step_in_chunk: Int[Array, ""]  # slots since the start of the chunk
    chunk: Int[Array, ""]  # index within the task
    task: Int[Array, ""]


class Optimiser(eqx.Module):
    """An optax optimiser with its hyperparameters as arrays and a state that can be reset in part.

    ```python
    optimiser = Optimiser(optax.sgd, learning_rate=0.01, momentum=0.9)
    optimiser = optimiser.init(model)
    model, optimiser = optimiser.apply(grads, model)
    ```

    Floating-point arguments become arrays in `hyper`, so a sweep over them does not recompile.
    All other arguments (`nesterov=True`) are part of the program. `make` must be a function that
    outlives the call, such as `optax.adam` or a chain defined at the top of a module, because
    functions are compared by identity.
    """

    make: Callable[..., optax.GradientTransformation] = eqx.field(static=True)
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)
    hyper: dict[str, Float[Array, "..."]]
    state: PyTree

    def __init__(self, make: Callable[..., optax.GradientTransformation], /, **arguments: Any):
        numeric = {k: v for k, v in arguments.items() if _is_number(v)}
        self.make = make
        self.options = tuple(sorted((k, v) for k, v in arguments.items() if k not in numeric))
        # A weakly typed array would change its type in the first step.
        self.hyper = {k: jnp.asarray(v, dtype=float) for k, v in numeric.items()}
        self.state = None

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation with the current hyperparameters."""
        return self.make(**self.hyper, **dict(self.options))

    def init(self, model: PyTree) -> "Optimiser":
        """This optimiser with freshly initialised state for the parameters of `model`."""
        state = self.transformation.init(eqx.filter(model, eqx.is_inexact_array))
        return eqx.tree_at(lambda o: o.state, self, state, is_leaf=lambda x: x is None)

    def apply(
        self, grads: PyTree, model: PyTree, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree, "Optimiser"]:
        """Take one step with the gradient `grads`. Returns the new model and the new optimiser.

        `key` is passed on as optax's extra argument `key`. Only transformations that draw random
        numbers use it, such as `spectral.algorithms.perturbed_sgd`.
        """
        params = eqx.filter(model, eqx.is_inexact_array)
        transformation = optax.with_extra_args_support(self.transformation)
        updates, state = transformation.update(grads, self.state, params, key=key)
        return eqx.apply_updates(model, updates), eqx.tree_at(lambda o: o.state, self, state)

    def forget(self, fresh: PyTree[Bool[Array, "..."]], model: PyTree) -> "Optimiser":
        """Reset the state of the entries marked in `fresh` to its initial value.

        **Arguments:**

        - `fresh`: Booleans with the shapes and the structure of the parameters.
        - `model`: the model whose weights the marked entries start from.

        Resets everything that optax keeps per parameter: momenta, second moments, copies of the
        weights. State that all entries share, such as the single step count of `optax.adam`, is
        kept. `spectral.algorithms.adam` counts the steps of every entry, so under it a marked entry
        continues exactly like one that has never been trained.
        """
        return self.rewrite(lambda now, first, m: jnp.where(m, first, now), model, fresh)

    def rewrite(self, change: Callable[..., Array], model: PyTree, *trees: PyTree) -> "Optimiser":
        """Change the state that is kept per parameter of `model`. State that all entries share is
        left as it is.

        **Arguments:**

        - `change`: called as `change(now, first, *of_trees)` for each array that optax keeps in the
          shape of a parameter; returns the new array. `now` is the current array and `first` is its
          value before the first step of `model`.
        - `trees`: trees with the structure of the parameters. `of_trees` are their nodes, arrays or
          whole subtrees, at the position of the parameter.

        ```python
        params = eqx.filter(model, eqx.is_inexact_array)
        optimiser.rewrite(lambda now, first: now / 2, params)  # halves all momenta
        ```
        """
        transformation = self.transformation
        params = eqx.filter(model, eqx.is_inexact_array)
        initial = transformation.init(params)
        others = optax.tree_utils.tree_map_params(
            transformation,
            lambda s, *own: s if isinstance(s, optax.MaskedNode) else own,
            self.state,
            *trees,
            transform_non_params=lambda _: _SHARED,
            is_leaf=lambda s: isinstance(s, optax.MaskedNode),
        )
        state = jax.tree.map(
            lambda s, i, own: s if own is _SHARED else change(s, i.astype(s.dtype), *own),
            self.state,
            initial,
            others,
        )
        return eqx.tree_at(lambda o: o.state, self, state)


class Learner(eqx.Module):
    """Everything that an algorithm may change."""

    model: PyTree
    model_state: eqx.nn.State | None  # running statistics of BatchNorm; None for most networks
    optimiser: Optimiser


class Aux(eqx.Module):
    """The results of a forward pass besides the outputs."""

    taps: dict[str, Array]  # layer name -> activations of a batch, [examples, units, ...]
    model_state: eqx.nn.State | None


class Chunk(eqx.Module):
    """The data of one chunk: an epoch, a slice of an online stream, or a rollout's minibatches."""

    items: PyTree  # leaves [minibatches, examples, ...]
    _: KW_ONLY
    in_use: Int[Array, ""] | None = None  # how many minibatches to train on; None means all


class Signal(eqx.Module):
    """What a transform may know about the gradient step that was just taken. Read-only."""

    clock: Clock
    batch: PyTree
    loss: Float[Array, ""]  # the stream's criterion before the step, without penalties
    taps: dict[str, Array]  # activations of the batch before the step
    grads: PyTree  # the gradient of criterion plus penalties, as the optimiser received it
    chunk: Chunk
    take: Callable[[PyTree], PyTree]  # item of the chunk -> batch
    forward: Callable  # the stream's forward pass
    criterion: Callable  # the stream's criterion: (outputs, batch) -> (loss, metrics)

    @property
    def minibatches(self) -> int:
        """The number of minibatches in the chunk."""
        return jax.tree.leaves(self.chunk.items)[0].shape[0]

    def window(self, num_minibatches: int) -> PyTree:
        """The last `num_minibatches` minibatches of the chunk, up to and including this one, as one
        batch.

        Call it only after `num_minibatches` steps of the chunk, that is, under a cadence whose
        period is a multiple of `num_minibatches`. If fewer than `num_minibatches` are in use, they
        are repeated cyclically.

        **Raises:** `ValueError` if `num_minibatches` does not divide the number of minibatches in
        the chunk.
        """
        if num_minibatches < 1 or self.minibatches % num_minibatches:
            raise ValueError(
                f"A window of {num_minibatches} minibatches does not fit a chunk of "
                f"{self.minibatches}: choose a divisor of {self.minibatches}, or change the length "
                "of the chunk."
            )
        start = self.clock.step_in_chunk + 1 - num_minibatches

        def block(leaf: Array) -> Array:
            if self.chunk.in_use is None:
                rows = jax.lax.dynamic_slice_in_dim(leaf, start, num_minibatches)
            else:
                rows = leaf[(start + jnp.arange(num_minibatches)) % self.chunk.in_use]
            return rows.reshape(num_minibatches * leaf.shape[1], *leaf.shape[2:])

        return self.take(jax.tree.map(block, self.chunk.items))

    def taps_of(
        self, learner: Learner, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[dict[str, Array], eqx.nn.State | None]:
        """Run the current model of `learner` on `batch` in training mode. Returns the activations
        and the model state (running statistics) after that pass."""
        _, aux = self.forward(learner.model, learner.model_state, batch, key=key, inference=False)
        return aux.taps, aux.model_state

    def loss_of(self, learner: Learner, batch: PyTree, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """The stream's criterion on `batch` for the current model of `learner`, in training mode
        and without penalties. It is differentiable with respect to `learner.model`."""
        outputs, _ = self.forward(
            learner.model, learner.model_state, batch, key=key, inference=False
        )
        return self.criterion(outputs, batch)[0]


def _is_number(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return isinstance(value, float) if dtype is None else jnp.issubdtype(dtype, jnp.inexact)
