"""Units that do the same as another."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..._base._scaling import norm
from ..units._entries import Entries
from ..units._unit_group import UnitGroup


def twins(
    rows: Float[Array, "units entries"], *, threshold: float = 0.95, scaled: bool = True
) -> Bool[Array, " units"]:
    """Marks the units that are alike a later one: of k equal units, k - 1.

    Two units are alike if the cosine of their rows is above `threshold`. So units that differ by a
    positive factor are alike; with `scaled=False` the cosine is multiplied by the smaller of the
    two norms over the larger, and they are not. Nothing is added to the norms, so the size of the
    rows does not matter. A row of zeros is alike no other.

    ```python
    jax.jit(twins)(jnp.array([[1.0, 2.0], [2.0, 4.0], [1.0, 0.0]]))  # [True, False, False]
    ```
    """
    return jnp.any(_pairs(rows, threshold, scaled), axis=1)


def twins_on_data(
    activations: Float[Array, "examples units *positions"], *, threshold: float = 0.95
) -> Bool[Array, " units"]:
    """Marks the units whose activations are parallel to those of a later unit.

    The duplicates of Joudaki et al., *Barriers for Learning in an Evolving World* (2026): their
    text says correlation, their code takes the cosine, which is not centred. Twins on the data need
    not be clones: their gradients may differ, and separate them.

    ```python
    jax.jit(twins_on_data)(jnp.array([[1.0, 2.0, 1.0], [2.0, 4.0, 0.0]]))  # [True, False, False]
    ```
    """
    rows = jnp.moveaxis(activations, 1, 0).reshape(activations.shape[1], -1)
    return twins(rows, threshold=threshold)


def twins_by_weights(
    model: PyTree,
    group: UnitGroup,
    *,
    outgoing: bool = False,
    threshold: float = 0.95,
    scaled: bool = True,
) -> Bool[Array, " units"]:
    """Marks the units whose incoming weights and bias are parallel to those of a later unit.

    With `outgoing=True` the outgoing weights must be parallel too, and longer by the same factor c.
    Such a pair, (w_2, b_2, v_2) = c (w_1, b_1, v_1), stays parallel under gradient descent on any
    data. A pair of which only the incoming weights are parallel separates in one step. Under Adam
    only pairs with c = 1 stay (ours, by computation).

    ```python
    import equinox as eqx
    from spectral.models import twins_by_weights

    eqx.filter_jit(twins_by_weights)(model, model.units()[0])  # [units]
    ```

    **Arguments:**

    - `threshold`: the cosines above which units are alike.
    - `scaled`: whether units that differ by a positive factor are alike. They are twins for
        positively homogeneous activations, such as ReLU; pass `False` for others.

    **Raises:** `ValueError` if the layer is normalised, where weights alone do not make a unit, or
    if it has no outgoing weights and `outgoing` is true.
    """
    check_weights_make_units(group, outgoing=outgoing)
    into = _rows(model, group.incoming + group.bias)
    alike = [_pairs(into, threshold, scaled)]
    if outgoing:
        out = _rows(model, group.outgoing)
        # The factors agree if both parts together are parallel. Each part alone must be as well,
        # because a small part has no weight in the cosine of both.
        both = jnp.concatenate([into, out], axis=1)
        alike += [_pairs(rows, threshold, scaled) for rows in (out, both)]
    return jnp.any(jnp.all(jnp.stack(alike), axis=0), axis=1)


def check_weights_make_units(group: UnitGroup, *, outgoing: bool) -> None:
    """**Raises:** `ValueError` if the weights of a layer do not decide which units are twins."""
    normalised = bool(group.scale or group.shift or group.statistics)
    if normalised or (outgoing and not group.replaceable):
        raise ValueError(
            f"`group` is the layer {group.name!r}, which is normalised or has no outgoing weights "
            "of its own, so its weights do not say which units are twins: use `twins_on_data`."
        )


def _rows(model: PyTree, kinds: tuple[Entries, ...]) -> Float[Array, "units entries"]:
    return jnp.concatenate([entries.by_unit(entries.read(model)) for entries in kinds], axis=1)


def _pairs(
    rows: Float[Array, "units entries"], threshold: float, scaled: bool
) -> Bool[Array, "units units"]:
    """Whether each unit is alike each later one."""
    sizes = norm(rows, axis=1)
    directions = rows / jnp.where(sizes > 0, sizes, 1)[:, None]
    alike = jnp.matmul(directions, directions.T, precision=jax.lax.Precision.HIGHEST)
    if not scaled:
        larger = jnp.maximum(sizes[:, None], sizes[None, :])
        alike = (
            alike * jnp.minimum(sizes[:, None], sizes[None, :]) / jnp.where(larger > 0, larger, 1)
        )
    return jnp.triu(alike > threshold, k=1)
