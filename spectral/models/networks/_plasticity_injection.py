"""Plasticity injection: a new network added to a frozen one without changing its function."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from .._network import AbstractNetwork
from ..layers._call_key import call_with_key
from ..units._unit_group import UnitGroup
from ..units._within import within
from ._frozen import check_without_statistics, frozen, frozen_like, thawed


class PlasticityInjection(AbstractNetwork):
    """f(x) + g(x) - g_0(x), with f frozen, g newly initialised and trained, and g_0 a frozen copy
    of the initial g.

    Nikishin et al., *Deep Reinforcement Learning with Plasticity Injection* (2023). The injection
    changes no output, and all further learning happens in a network that has not been trained. The
    taps and units are those of g. f and g_0 are stored as integers with the same bits. Integers are
    not parameters, so gradients, penalties, noise and resets cannot change f and g_0.

    With `later=True` the network is f, which is trained, until `inject` is called. The transform
    `algorithms.InjectPlasticity` calls it within a run. All arrays are there from the start, so the
    run is one compiled program. Before the injection a pass costs that of f, and after it three
    times as much; in an ensemble it always costs three times as much.

    ```python
    injected = PlasticityInjection(model, key=jax.random.key(1))
    waiting = PlasticityInjection(model, key=jax.random.key(1), later=True)
    waiting.inject()  # as `injected`
    ```

    - `injected`: whether `inject` has been called; `None` without `later`.
    """

    trained: AbstractNetwork
    base: PyTree
    beginning: PyTree
    injected: Bool[Array, ""] | None

    def __init__(self, base: AbstractNetwork, *, later: bool = False, key: PRNGKeyArray):
        """**Raises:** `ValueError` if the network has running statistics, because its function
        would keep changing."""
        check_without_statistics("base", base, "inject plasticity into")
        new = base.fresh(key=key)
        self.trained = base if later else new
        self.base = frozen(base)
        self.beginning = frozen(new)
        self.injected = jnp.asarray(False) if later else None

    def __call__(self, x: Any, /, *, key: PRNGKeyArray | None = None) -> Any:
        # One key for all three, because otherwise g - g_0 would not be zero at first.
        outputs, taps = call_with_key(self.trained, x, key=key)

        def added(outputs: Any) -> Any:
            kept, _ = call_with_key(thawed(self.base), x, key=key)
            initial, _ = call_with_key(thawed(self.beginning), x, key=key)
            # g - o first, which is exactly zero while g equals g_0.
            return jax.tree.map(lambda f, g, o: f + (g - o), kept, outputs, initial)

        if self.injected is None:
            return added(outputs), taps
        return jax.lax.cond(self.injected, added, lambda outputs: outputs, outputs), taps

    def inject(self) -> "PlasticityInjection":
        """Returns the network after the injection: f as it is now trained is frozen, and g takes
        its place among the parameters. The outputs do not change.

        **Raises:** `ValueError` for a network that was not made with `later=True`.
        """
        if self.injected is None:
            raise ValueError(
                "`later` is False, so that this network had its plasticity injected when it was "
                "made: make it with `PlasticityInjection(..., later=True)`."
            )
        typed = lambda old, x: x.astype(old.dtype) if eqx.is_inexact_array(old) else x
        new = jax.tree.map(typed, self.trained, thawed(self.beginning))
        parts = lambda m: (m.trained, m.base, m.beginning, m.injected)
        frozen_parts = (
            frozen_like(self.trained, self.base),
            frozen_like(new, self.beginning),
        )
        return eqx.tree_at(parts, self, (new, *frozen_parts, jnp.ones_like(self.injected)))

    def units(self) -> tuple[UnitGroup, ...]:
        """The units of the trained network: g, or f before the injection."""
        return tuple(within(group, lambda m: m.trained) for group in self.trained.units())

    def fresh(self, *, key: PRNGKeyArray) -> "PlasticityInjection":
        """Returns a newly initialised network with newly injected plasticity, or before its
        injection with `later=True`."""
        a, b = jax.random.split(key)
        later = self.injected is not None
        return PlasticityInjection(self.trained.fresh(key=a), later=later, key=b)
