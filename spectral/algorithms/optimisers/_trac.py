"""TRAC: an optimiser whose distance from the start is scaled by online learning."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from ..._arguments import check_fraction
from ..._base._optimiser import Optimiser
from ._erfi import erfi


_DECAYS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
_SMALL = 1e-8  # both the first scale of every decay and the epsilon of the authors' code
_ERFI_AT_ONE = 0.9534382693  # erfi(1 / sqrt(2))


class TRACState(NamedTuple):
    """The steps of the base optimiser since the start, their scale, and what the scale learns."""

    distance: PyTree  # D + u: the distance from the start, divided by the scale
    scale: Float[Array, ""]  # S
    variance: Float[Array, " decays"]  # V
    correlation: Float[Array, " decays"]  # sigma
    base: PyTree


def trac_around(
    base: Callable[..., optax.GradientTransformation] | optax.GradientTransformation,
    *,
    decays: tuple[float, ...] = _DECAYS,
    keep_distance: bool = False,
    **arguments: Any,
) -> optax.GradientTransformationExtraArgs:
    """TRAC (Muppidi et al., *Fast TRAC: A Parameter-Free Optimizer for Lifelong Reinforcement
    Learning*, 2024) around another optimiser, as an optax transformation.

    D is the distance of the parameters from their start, divided by a scale S, and u the step of
    the base. With gradient g and for each b of `decays`:

        D <- (theta - theta_0) / (S + 1e-8)       h = <g, D> over all parameters
        V <- b^2 V + h^2                          sigma <- b sigma - h
        s = 1e-8 erfi(sigma / (sqrt(2 V) + 1e-8)) / erfi(1 / sqrt(2))
        S <- max(sum of s, 0)                     theta <- theta_0 + S (D + u)

    sigma starts at 1e-8, V and S at 0, as in the authors' PyTorch code. If the sum is not positive,
    the parameters return to their start and D is lost, as there. Then h is 0 and sigma stays
    negative: they remain at their start for ever. The second step decides this, by the sign of h,
    so small minibatches often end there. `keep_distance=True`, a variant of this library, takes the
    sum of all u for D, so that S can rise again. The argument of erfi is cut at 9, which keeps
    float32 finite. erfi is exact here; that of the PyTorch code is about 1 % too low.

    At first S D is about 1e-8 and would be lost beside theta_0, so D + u and S are kept, and the
    parameters are moved by differences of S (D + u). So what a transform adds to the parameters
    stays and moves theta_0. (The code takes it for a part of D, divided by S.) Weight decay in the
    base pulls to 0, not to theta_0.

    **Arguments:**

    - `base`: a function that makes a transformation of optax, with its `arguments`, or a finished
      transformation.
    - `decays`: the b.
    - `keep_distance`: whether D is the sum of all u, not recovered from the parameters.

    **Raises:** `ValueError` for a decay outside [0, 1), or none.

    ```python
    Optimiser(trac_around, base=optax.adam, learning_rate=1e-3)
    ```
    """
    if not decays:
        raise ValueError("`decays` is empty, but must have a number: pass for example (0.9, 0.99).")
    for decay in decays:
        check_fraction("decays", decay, strict=True)
    finished = isinstance(base, optax.GradientTransformation)
    made = base if finished else base(**arguments)
    inner = optax.with_extra_args_support(made)

    def init(params: PyTree) -> TRACState:
        distance = jax.tree.map(jnp.zeros_like, params)
        zero, zeros = jnp.zeros(()), jnp.zeros(len(decays))
        return TRACState(distance, zero, zeros, zeros + _SMALL, inner.init(params))

    def update(
        updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, TRACState]:
        step, base_state = inner.update(updates, state.base, params, **extra)
        lost = 0 if keep_distance else _SMALL / (state.scale + _SMALL)
        kept = 1 - lost
        products = jax.tree.map(lambda g, d: jnp.sum(g * (kept * d)), updates, state.distance)
        h = sum(jax.tree.leaves(products), jnp.zeros(()))
        own = jnp.asarray(np.array(decays), state.variance.dtype)
        variance = own**2 * state.variance + h**2
        correlation = own * state.correlation - h
        learnt = erfi(correlation / (jnp.sqrt(2 * variance) + _SMALL)) / _ERFI_AT_ONE
        scale = jnp.maximum(_SMALL * jnp.sum(learnt), 0)
        add = lambda d, u: (kept * d + u).astype(d.dtype)
        distance = jax.tree.map(add, state.distance, step)
        difference = lambda n, d: (scale * n - state.scale * d).astype(d.dtype)
        moved = jax.tree.map(difference, distance, state.distance)
        return moved, TRACState(distance, scale, variance, correlation, base_state)

    return optax.GradientTransformationExtraArgs(init, update)


def with_trac(optimiser: Optimiser, *, keep_distance: bool) -> Optimiser:
    """TRAC around an optimiser. Its numbers, also those that follow a schedule, stay data."""
    numbers = optimiser.hyper | optimiser.schedules
    options = dict(optimiser.options) | {"base": optimiser.make, "keep_distance": keep_distance}
    return Optimiser(trac_around, **numbers, **options)
