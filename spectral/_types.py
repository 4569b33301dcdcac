"""The nouns that every part of the package shares."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree


# Marks what an optimiser keeps for all entries together.
_SHARED = np.False_


class Clock(eqx.Module):
    """Where in the run a step lies. Built by the loop from its own counters.

    Keeping no counter of their own, parts that fire now and then branch on this one; it is the
    same for all members of an ensemble, so the branch stays a branch under `jax.vmap`.
    """

    step: Int[Array, ""]  # slots for gradient steps since the start of the run
    step_in_chunk: Int[Array, ""]  # the same, since the start of the chunk
    chunk: Int[Array, ""]  # within the task
    task: Int[Array, ""]


class Optimiser(eqx.Module):
    """An optax optimiser whose numbers are data and whose state can forget.

    ```python
    optimiser = Optimiser(optax.sgd, learning_rate=0.01, momentum=0.9)
    optimiser = optimiser.init(model)
    model, optimiser = optimiser.apply(grads, model)
    ```

    Floating-point arguments become arrays in `hyper`: a sweep over them compiles nothing anew.
    All other arguments (`nesterov=True`) are part of the program. `make` must be a function that
    outlives the call, such as `optax.adam` or a chain defined at the top of a module, for
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
        # An explicit dtype: a weakly typed array would change its type in the first step.
        self.hyper = {k: jnp.asarray(v, dtype=float) for k, v in numeric.items()}
        self.state = None

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation with the present numbers."""
        return self.make(**self.hyper, **dict(self.options))

    def init(self, model: PyTree) -> "Optimiser":
        """This optimiser with the state of a beginning for the parameters of `model`."""
        state = self.transformation.init(eqx.filter(model, eqx.is_inexact_array))
        return eqx.tree_at(lambda o: o.state, self, state, is_leaf=lambda x: x is None)

    def apply(
        self, grads: PyTree, model: PyTree, *, key: PRNGKeyArray | None = None
    ) -> tuple[PyTree, "Optimiser"]:
        """One step along `grads`; returns the new model and the new optimiser.

        `key` is handed to transformations that draw numbers and take it as optax's extra argument
        `key`, such as `spectral.algorithms.perturbed_sgd`; all others never see it.
        """
        params = eqx.filter(model, eqx.is_inexact_array)
        transformation = optax.with_extra_args_support(self.transformation)
        updates, state = transformation.update(grads, self.state, params, key=key)
        return eqx.apply_updates(model, updates), eqx.tree_at(lambda o: o.state, self, state)

    def forget(self, fresh: PyTree[Bool[Array, "..."]], model: PyTree) -> "Optimiser":
        """Return the state of the entries marked in `fresh` to that of a beginning from `model`.

        **Arguments:**

        - `fresh`: Booleans of the shapes of the parameters, in the structure of the parameters.
        - `model`: with the weights from which the marked entries begin.

        Everything that optax keeps per parameter (momenta, second moments, copies of the weights)
        is returned to what it is before the first step; what all entries share, such as the one
        step count of `optax.adam`, stays. `spectral.algorithms.adam` counts the steps of every
        entry, so with it a marked entry goes on exactly as one that has never been trained.
        """
        return self.rewrite(lambda now, first, m: jnp.where(m, first, now), model, fresh)

    def rewrite(self, change: Callable[..., Array], model: PyTree, *trees: PyTree) -> "Optimiser":
        """Change what is kept per parameter of `model`, and nothing that all entries share.

        **Arguments:**

        - `change`: `change(now, first, *of_trees)` gives the new array for each array that optax
          keeps in the shape of a parameter, from the present one and from what it is before the
          first step of `model`.
        - `trees`: in the structure of the parameters; `of_trees` is what they have, be it an array
          or a whole tree, in the place of the parameter.

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
    """Everything that an algorithm may change, and nothing else."""

    model: PyTree
    model_state: eqx.nn.State | None  # running statistics of BatchNorm; None for most networks
    optimiser: Optimiser


class Aux(eqx.Module):
    """What a forward pass returns besides the outputs."""

    taps: dict[str, Array]  # by layer, the activations of a batch: [examples, units, ...]
    model_state: eqx.nn.State | None


class Chunk(eqx.Module):
    """The data of one chunk: an epoch, a slice of an online stream, or a rollout's minibatches."""

    items: PyTree  # leaves [minibatches, examples, ...]
    _: KW_ONLY
    in_use: Int[Array, ""] | None = None  # minibatches that count; the rest are skipped. None: all


class Signal(eqx.Module):
    """What a transform may know about the gradient step just taken. Read only."""

    clock: Clock
    batch: PyTree
    loss: Float[Array, ""]  # the stream's criterion, before the step and without penalties
    taps: dict[str, Array]  # activations of the batch, before the step
    grads: PyTree  # what the optimiser was given: the gradient of criterion plus penalties
    chunk: Chunk
    take: Callable[[PyTree], PyTree]  # an item of the chunk -> a batch
    forward: Callable  # the stream's forward pass
    criterion: Callable  # the stream's criterion: outputs and batch -> loss and metrics

    @property
    def minibatches(self) -> int:
        """Minibatches in the chunk."""
        return jax.tree.leaves(self.chunk.items)[0].shape[0]

    def window(self, num_minibatches: int) -> PyTree:
        """The last `num_minibatches` minibatches of the chunk, ending with this one, as one batch.

        To be called when `num_minibatches` steps of the chunk are complete, that is under a cadence
        whose period is a multiple of `num_minibatches`. Where fewer than `num_minibatches` are in
        use, those are repeated in turn.

        **Raises:** `ValueError` if `num_minibatches` does not divide the minibatches of a chunk.
        """
        if num_minibatches < 1 or self.minibatches % num_minibatches:
            raise ValueError(
                f"A window of {num_minibatches} minibatches does not fit a chunk of "
                f"{self.minibatches}: choose a number that divides it, or change the length of the "
                "chunk."
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
        """Activations that the present parameters of `learner` give on `batch`, in training mode,
        and the model state (running statistics) after that pass."""
        _, aux = self.forward(learner.model, learner.model_state, batch, key=key, inference=False)
        return aux.taps, aux.model_state

    def loss_of(self, learner: Learner, batch: PyTree, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """The stream's criterion, without penalties, of the present parameters of `learner` on
        `batch`, in training mode; to be differentiated in the model of `learner`."""
        outputs, _ = self.forward(
            learner.model, learner.model_state, batch, key=key, inference=False
        )
        return self.criterion(outputs, batch)[0]


def _is_number(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return isinstance(value, float) if dtype is None else jnp.issubdtype(dtype, jnp.inexact)
