"""Plasticity injection: a new network added to a frozen one without changing its function."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._network import AbstractNetwork
from ..layers._batch_norm import BatchNorm
from ..layers._call_key import call_with_key
from ..units._unit_group import UnitGroup
from ..units._within import within


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
        is_norm = lambda x: isinstance(x, BatchNorm | eqx.nn.BatchNorm)
        if any(map(is_norm, jax.tree.leaves(base, is_leaf=is_norm))):
            raise ValueError(
                "`base` has running statistics, which keep changing in a frozen network: inject "
                "plasticity into a network without BatchNorm."
            )
        self.trained = base.fresh(key=key)
        self.base = _frozen(base)
        self.beginning = _frozen(self.trained)

    def __call__(self, x: Any, /, *, key: PRNGKeyArray | None = None) -> Any:
        # One key for all three, because otherwise g - g_0 would not be zero at first.
        outputs, taps = call_with_key(self.trained, x, key=key)
        kept, _ = call_with_key(_thawed(self.base), x, key=key)
        initial, _ = call_with_key(_thawed(self.beginning), x, key=key)
        # g - o first, which is exactly zero while g equals g_0.
        return jax.tree.map(lambda f, g, o: f + (g - o), kept, outputs, initial), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """The units of the trained network g."""
        return tuple(within(group, lambda m: m.trained) for group in self.trained.units())

    def fresh(self, *, key: PRNGKeyArray) -> "PlasticityInjection":
        """Returns a newly initialised network with newly injected plasticity."""
        a, b = jax.random.split(key)
        return PlasticityInjection(self.trained.fresh(key=a), key=b)


# Bytes of a number -> integer type of that size.
_BITS = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


class _Frozen(eqx.Module):
    """The bits of a parameter."""

    bits: Array
    dtype: Any = eqx.field(static=True)


def _frozen(model: PyTree) -> PyTree:
    def freeze(x: Any) -> Any:
        if not eqx.is_inexact_array(x):
            return x
        return _Frozen(jax.lax.bitcast_convert_type(x, _BITS[x.dtype.itemsize]), x.dtype)

    return jax.tree.map(freeze, model)


def _thawed(frozen: PyTree) -> Any:
    def thaw(x: Any) -> Any:
        return jax.lax.bitcast_convert_type(x.bits, x.dtype) if isinstance(x, _Frozen) else x

    return jax.tree.map(thaw, frozen, is_leaf=lambda x: isinstance(x, _Frozen))
