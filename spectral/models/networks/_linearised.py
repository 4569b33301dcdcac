"""A network replaced by its first-order expansion at its present weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._network import AbstractNetwork
from ..layers._call_key import call_with_key
from ..units._unit_group import UnitGroup
from ._frozen import check_without_statistics, frozen, thawed


class Linearised(AbstractNetwork):
    """f(x; theta_0) + J(x) d: a network that is linear in its parameters, the displacement d.

    theta_0 are the weights of `network` when it is passed, and J is the Jacobian of the outputs in
    the weights there. d is theta - theta_0, so it is zero initially and the first step is that of
    the network itself. Penalties and noise act on d: `algorithms.L2` pulls towards theta_0. theta_0
    is stored as integers with the same bits, as in `PlasticityInjection`, and never changes. J d is
    one `jax.jvp`, so a pass costs about twice that of the network.

    With this network the kernel J J^T does not change while it trains. For full-batch gradient
    descent `theory.trainability_forecast` and `theory.descent_conditions` are then exact, whereas
    they are approximations for the network itself.

    The taps are the activations of the network at theta_0. They do not depend on d, because the
    tangent features J do not. So probes of units and features measure theta_0, and the step of
    `algorithms.er` has the gradient 0. The derivatives of the activations in d would be no
    activations: they may be negative after a ReLU, and the outputs are not computed from them. The
    entries of d are not weights of units either, so `units()` is empty, and algorithms that renew
    units reject the network. (He et al.'s abstract mentions a linearised ReLU network; these
    taps and units are ours.)

    ```python
    linear = Linearised(MLP(3, 2, width=4, depth=1, key=jax.random.key(0)))
    outputs, taps = linear(jnp.ones(3))  # those of the MLP, because the displacement is 0
    ```
    """

    displacement: PyTree[Float[Array, "..."]]
    base: PyTree

    def __init__(self, network: AbstractNetwork):
        """**Raises:** `ValueError` if the network has running statistics."""
        check_without_statistics("network", network, "linearise")
        params = eqx.filter(network, eqx.is_inexact_array)
        self.displacement = jax.tree.map(jnp.zeros_like, params)
        self.base = frozen(network)

    def __call__(self, x: Any, /, *, key: PRNGKeyArray | None = None) -> Any:
        origin, others = eqx.partition(thawed(self.base), eqx.is_inexact_array)
        network = lambda params: call_with_key(eqx.combine(params, others), x, key=key)
        outputs, change, taps = jax.jvp(network, (origin,), (self.displacement,), has_aux=True)
        return jax.tree.map(jnp.add, outputs, change), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """A linearised network has no units whose weights can be renewed."""
        return ()

    def fresh(self, *, key: PRNGKeyArray) -> "Linearised":
        """Returns a newly initialised network, linearised where it is."""
        return Linearised(thawed(self.base).fresh(key=key))
