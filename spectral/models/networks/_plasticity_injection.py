"""Plasticity injection: a new network beside a frozen one, with the same function at first."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._network import AbstractNetwork
from ..layers._batch_norm import BatchNorm
from ..units._unit_group import UnitGroup
from ..units._within import within


class PlasticityInjection(AbstractNetwork):
    """f(x) + g(x) - g_0(x), with f as it was, g newly drawn and trained, g_0 = g at the beginning.

    Nikishin et al., *Deep Reinforcement Learning with Plasticity Injection* (2023): injecting
    changes no output, and hands all further learning to a network that has learned nothing yet. The
    taps and units are those of g. f and g_0 are frozen: not even a penalty, noise or a reset can
    reach them, since they are kept as integers of the same bits, which are no parameters.

    ```python
    injected = PlasticityInjection(model, key=jax.random.key(1))
    ```
    """

    trained: AbstractNetwork
    base: PyTree
    beginning: PyTree

    def __init__(self, base: AbstractNetwork, *, key: PRNGKeyArray):
        """**Raises:** `ValueError` for a network with running statistics, whose function would not
        stay as it was."""
        is_norm = lambda x: isinstance(x, BatchNorm | eqx.nn.BatchNorm)
        if any(map(is_norm, jax.tree.leaves(base, is_leaf=is_norm))):
            raise ValueError(
                "`base` has running statistics, which go on changing in a frozen network: inject "
                "plasticity into a network without BatchNorm."
            )
        self.trained = base.fresh(key=key)
        self.base = _frozen(base)
        self.beginning = _frozen(self.trained)

    def __call__(self, x: Any, /) -> Any:
        outputs, taps = self.trained(x)
        kept, _ = _thawed(self.base)(x)
        initial, _ = _thawed(self.beginning)(x)
        # Kept first: where g has not moved the difference is exactly zero.
        return jax.tree.map(lambda f, g, o: f + (g - o), kept, outputs, initial), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """Those of the network that is trained."""
        return tuple(within(group, lambda m: m.trained) for group in self.trained.units())

    def fresh(self, *, key: PRNGKeyArray) -> "PlasticityInjection":
        """A newly initialised network with newly injected plasticity."""
        a, b = jax.random.split(key)
        return PlasticityInjection(self.trained.fresh(key=a), key=b)


# By the bytes of a number.
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
