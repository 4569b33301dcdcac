"""Plasticity injection: a new network added to a frozen one without changing its function."""

from typing import Any

import jax
from jaxtyping import PRNGKeyArray, PyTree

from .._network import AbstractNetwork
from ..layers._call_key import call_with_key
from ..units._unit_group import UnitGroup
from ..units._within import within
from ._frozen import check_without_statistics, frozen, thawed


class PlasticityInjection(AbstractNetwork):
    """f(x) + g(x) - g_0(x), with f frozen, g newly initialised and trained, and g_0 a frozen copy
    of the initial g.

    Nikishin et al., *Deep Reinforcement Learning with Plasticity Injection* (2023). The injection
    changes no output, and all further learning happens in a network that has not been trained. The
    taps and units are those of g. f and g_0 are stored as integers with the same bits. Integers are
    not parameters, so gradients, penalties, noise and resets cannot change f and g_0.

    ```python
    injected = PlasticityInjection(model, key=jax.random.key(1))
    ```
    """

    trained: AbstractNetwork
    base: PyTree
    beginning: PyTree

    def __init__(self, base: AbstractNetwork, *, key: PRNGKeyArray):
        """**Raises:** `ValueError` if the network has running statistics, because its function
        would keep changing."""
        check_without_statistics("base", base, "inject plasticity into")
        self.trained = base.fresh(key=key)
        self.base = frozen(base)
        self.beginning = frozen(self.trained)

    def __call__(self, x: Any, /, *, key: PRNGKeyArray | None = None) -> Any:
        # One key for all three, because otherwise g - g_0 would not be zero at first.
        outputs, taps = call_with_key(self.trained, x, key=key)
        kept, _ = call_with_key(thawed(self.base), x, key=key)
        initial, _ = call_with_key(thawed(self.beginning), x, key=key)
        # g - o first, which is exactly zero while g equals g_0.
        return jax.tree.map(lambda f, g, o: f + (g - o), kept, outputs, initial), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """The units of the trained network g."""
        return tuple(within(group, lambda m: m.trained) for group in self.trained.units())

    def fresh(self, *, key: PRNGKeyArray) -> "PlasticityInjection":
        """Returns a newly initialised network with newly injected plasticity."""
        a, b = jax.random.split(key)
        return PlasticityInjection(self.trained.fresh(key=a), key=b)
