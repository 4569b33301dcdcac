"""The point with the smallest norm among all scalings of the units of a network."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._scaling import norm
from ..._carry import arrays_of, on_arrays, with_arrays
from ._described import unit_groups
from ._entries import Entries
from ._rescaled import check_scalable, inner_entries, scaled_units
from ._unit_group import UnitGroup


_MAX_SWEEPS = 1000


def balanced(model: PyTree) -> PyTree:
    """Scale the hidden units so that for each the norm of what goes in equals the norm of what goes
    out. The function of the network stays the same.

    A ReLU network is the same function for all positive factors of its units (see `rescaled`), but
    norms, gradients and the Hessian differ. This picks one network of each such family, so what is
    measured on it does not depend on the factors. A unit with the norm A of its incoming weights
    and bias and the norm Z of its outgoing weights gets the factor sqrt(Z / A), after which both
    are sqrt(A Z). The layers are swept until no factor differs from 1 by more than rounding, or
    1000 times. The result has the smallest norm of all weights in the family (Stock et al.,
    *Equi-normalization of Neural Networks*, 2019, who show that it is unique). Units with A or Z
    equal to 0, and units without outgoing weights of their own, are left as they are: only their
    factors remain.

    ```python
    import equinox as eqx
    from spectral.models import balanced, rescaled

    other = rescaled(model, {"hidden_0": jnp.array([1.0, 2.0, 0.5, 8.0])})
    even = eqx.filter_jit(balanced)
    even(other), even(model)  # equal up to rounding
    ```

    **Raises:** `TypeError` if the network does not describe its units, `ValueError` if an
    activation is not positively homogeneous, such as GELU or tanh, or is not a field of the
    network.
    """
    check_scalable(model)
    groups = [group for group in unit_groups(model) if group.replaceable]
    if not groups:
        return model
    params = [e.where(model) for group in groups for e in inner_entries(group)]
    rounding = 8 * max(jnp.finfo(p.dtype).eps for p in params)

    def sweep(model: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        moved = jnp.zeros(())
        for group in groups:
            factors = _factors(model, group)
            model = scaled_units(model, group, factors)
            moved = jnp.maximum(moved, jnp.max(jnp.abs(factors - 1)).astype(moved.dtype))
        return model, moved

    once = on_arrays(sweep, model)

    def step(carried):
        arrays, _, count = carried
        return *once(arrays), count + 1

    unfinished = lambda carried: (carried[1] > rounding) & (carried[2] < _MAX_SWEEPS)
    first = arrays_of(model), jnp.asarray(jnp.inf), jnp.asarray(0)
    return with_arrays(model, jax.lax.while_loop(unfinished, step, first)[0])


def _factors(model: PyTree, group: UnitGroup) -> Float[Array, " units"]:
    inner = _norms(model, inner_entries(group))
    outer = _norms(model, group.outgoing)
    exist = (inner > 0) & (outer > 0)
    # Each root by itself, because the quotient of the norms may leave the range of numbers.
    root = lambda x: jnp.sqrt(jnp.where(exist, x, 1))
    return root(outer) / root(inner)


def _norms(model: PyTree, kinds: tuple[Entries, ...]) -> Float[Array, " units"]:
    rows = [entries.by_unit(entries.read(model)) for entries in kinds]
    return norm(jnp.concatenate(rows, axis=1), axis=1)
