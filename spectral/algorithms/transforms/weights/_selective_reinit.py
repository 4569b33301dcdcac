"""Selective weight reinitialisation: single weights of the smallest utility are new."""

import math
from dataclasses import replace
from typing import Any, get_args, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ...._arguments import as_int_or_none, check_count
from ...._base._scaling import exponent_of, times_power
from ...._types import Learner, Signal
from ....models import activations_of, connected, unit_groups
from ..._base._arguments import as_fraction, check_name, Number
from ..._base._fresh import fresh_parameters
from ..._base._protocols import AbstractTransform


WeightUtility = Literal["gradient", "magnitude"]
Pruning = Literal["threshold", "proportional"]
NewWeights = Literal["fresh", "mean"]


class SelectiveReinit(AbstractTransform[None]):
    """Selective weight reinitialisation (Hernandez-Garcia et al., *Reinitializing weights vs units
    for maintaining plasticity in neural networks*, 2025).

    In each array of parameters by itself, biases, norms and the output layer included, the utility
    of an entry is |g w| or |w|. The entries of lowest utility get new values: a draw from the
    initial distribution of the array, or its mean. The optimiser keeps its state of them.

    Use it under `Periodic`. Published for Permuted MNIST (three layers of 100, minibatches of 30,
    SGD with learning rate 0.05, "gradient"): every 2048 steps with `fraction` 1e-5
    ("threshold", "fresh") or 1e-3 ("threshold", "mean"); every 4096 with 0.4 ("proportional",
    "fresh"), every 512 with 0.2 ("proportional", "mean").

    The incoming weights of a dead unit have no gradient: with "gradient" they are always drawn
    again. So is, with "threshold", every array without any gradient. In a minibatch of one example
    nearly every weight has none: take a window.

    ```python
    Periodic(SelectiveReinit(fraction=1e-5, window=50), period=50)
    ```
    """

    fraction: Float[Array, ""]
    utility: WeightUtility = eqx.field(static=True)
    pruning: Pruning = eqx.field(static=True)
    target: NewWeights = eqx.field(static=True)
    window: int | None = eqx.field(static=True, converter=as_int_or_none)

    def __init__(
        self,
        *,
        fraction: Number = 1e-5,
        utility: WeightUtility = "gradient",
        pruning: Pruning = "threshold",
        target: NewWeights = "fresh",
        window: int | None = None,
    ):
        """**Arguments:**

        - `fraction`: with `pruning="threshold"`, entries whose utility is at most this fraction of
          the mean of their array are chosen; with `"proportional"`, this fraction of all entries
          of the array, rounded up or down at random so that it holds on average.
        - `utility`: `"gradient"` is |g w|, `"magnitude"` |w|.
        - `target`: `"fresh"` draws the new values; `"mean"` takes the mean of their distribution,
          1 for the scales of norms, the initial values of learnt activations, 0 for all others.
        - `window`: `None` takes for g the gradient of this step, at the weights before it, as
          published; a number of minibatches takes the gradient of the stream's criterion on the
          last of them, at the present weights.

        **Raises:** `ValueError` for a fraction outside [0, 1], an unknown name, a window below one,
        or a window with `utility="magnitude"`, which has no gradient.
        """
        check_name("utility", utility, get_args(WeightUtility))
        check_name("pruning", pruning, get_args(Pruning))
        check_name("target", target, get_args(NewWeights))
        if window is not None:
            check_count("window", window)
            if utility == "magnitude":
                raise ValueError(
                    f"`window` is {window}, but `utility` 'magnitude' takes no gradient: leave "
                    "`window` out, or pass `utility='gradient'`."
                )
        self.fraction = as_fraction("fraction", fraction)
        self.utility, self.pruning, self.target = utility, pruning, target
        self.window = window

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` with `target="mean"` for a model without `units()`."""
        if self.target == "mean":
            unit_groups(learner.model)

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        """**Raises:** `ValueError` for a window that does not divide the chunk, `TypeError` for a
        model without `fresh`."""
        forward_key, round_key, draw_key = jax.random.split(key, 3)
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(params)
        exists = _existing(learner.model)
        utilities = [jnp.abs(p) for p in leaves]
        if self.utility == "gradient":
            grads = jax.tree.leaves(self._gradient(learner, signal, key=forward_key))
            utilities = [_sensitivity(g, p) for g, p in zip(grads, leaves, strict=True)]
        new = jax.tree.leaves(self._new(learner.model, params, key=draw_key))
        for i, (utility, own) in enumerate(zip(utilities, exists, strict=True)):
            marks = self._lowest(utility, own, key=jax.random.fold_in(round_key, i))
            leaves[i] = jnp.where(marks, new[i], leaves[i])
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return replace(learner, model=model), state

    def _gradient(self, learner: Learner, signal: Signal, *, key: PRNGKeyArray) -> PyTree:
        if self.window is None:
            return signal.grads
        batch = signal.window(self.window)
        loss = lambda model: signal.loss_of(replace(learner, model=model), batch, key=key)
        return eqx.filter_grad(loss)(learner.model)

    def _lowest(
        self, utility: Float[Array, "..."], exists: Bool[Array, "..."], *, key: PRNGKeyArray
    ) -> Bool[Array, "..."]:
        """Marks the entries of lowest utility among those that exist."""
        count = jnp.sum(exists)
        if self.pruning == "threshold":
            mean = jnp.sum(jnp.where(exists, utility, 0)) / jnp.maximum(count, 1)
            return exists & (utility <= self.fraction * mean)
        wanted = self.fraction * count
        more = jax.random.uniform(key) < wanted - jnp.floor(wanted)
        ranked = jnp.argsort(jnp.where(exists, utility, jnp.inf), axis=None)
        first = jnp.arange(math.prod(utility.shape)) < jnp.floor(wanted) + more
        return jnp.zeros(utility.size, bool).at[ranked].set(first).reshape(utility.shape)

    def _new(self, model: Any, params: PyTree, *, key: PRNGKeyArray) -> PyTree:
        fresh = fresh_parameters(model, key=key)
        if self.target == "fresh":
            return fresh
        constant = {id(leaf) for leaf in jax.tree.leaves(activations_of(model))}
        constant |= {id(e.where(model)) for group in unit_groups(model) for e in group.scale}
        return jax.tree.map(lambda p, f: f if id(p) in constant else 0 * f, params, fresh)


def _sensitivity(gradient: Float[Array, "..."], weight: Float[Array, "..."]) -> Array:
    """|g w| times a power of two for each array, of which only ratios within an array are used."""
    unit = lambda x: times_power(x, -exponent_of(x))
    return jnp.abs(unit(gradient)) * jnp.abs(unit(weight))


def _existing(model: Any) -> list[Bool[Array, "..."]]:
    """For each array, which of its entries exist: all, except for missing connections."""
    ones = jax.tree.map(lambda x: jnp.ones_like(x) if eqx.is_inexact_array(x) else x, model)
    return [p > 0 for p in jax.tree.leaves(eqx.filter(connected(ones), eqx.is_inexact_array))]
