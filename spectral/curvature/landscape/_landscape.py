"""The loss along given directions."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Real

from ..._arguments import check_count
from ..operators._hessian import scalar_value
from ..risk._check_risk import check_risk
from ..risk._parameters import split_parameters, structure_of


def loss_landscape(
    loss: Callable[[PyTree], Any],
    params: PyTree,
    directions: Sequence[PyTree],
    *coordinates: Real[Array | np.ndarray, "..."],
    batch_size: int = 16,
) -> Float[Array, "*grid"]:
    """The loss on a grid around `params`, spanned by one or more directions.

    Entry `[i, j]` is the loss at `params + x[i] directions[0] + y[j] directions[1]`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import filter_normalised_direction, loss_landscape

    def loss(params):
        return jnp.sum(jnp.tanh(params["w"]) ** 2)

    params = {"w": jnp.ones((3, 2))}
    x, y = jnp.linspace(-1.0, 1.0, 11), jnp.linspace(-1.0, 1.0, 9)
    keys = jax.random.split(jax.random.key(0))
    directions = [filter_normalised_direction(params, key=k) for k in keys]
    loss_landscape(loss, params, directions, x, y)  # [11, 9]
    ```

    **Arguments:**

    - `loss`: maps `params` to a scalar; or a `Risk`. As for `Hessian`, pass its data as arrays of
        a `Risk`, a `jax.tree_util.Partial` or a Module, so that new data do not recompile anything.
    - `params`: any pytree of floating-point arrays, or a whole Equinox network.
    - `directions`: pytrees like `params` or like its floating-point arrays. Examples are those of
        `filter_normalised_direction`, and the eigenvectors of `extreme_eigenpairs`, as in
        `jax.tree.map(lambda v: v[0], vectors)`. They are neither normalised nor made orthogonal.
    - `coordinates`: one array `[points]` for each direction, in units of the direction.
    - `batch_size`: points of the grid that are evaluated at once, each with a separate copy of the
        network in memory.

    **Returns:** an array with an axis for each direction.

    **Raises:** `ValueError` if there is no direction, if the numbers of directions and coordinates
    differ, if an array of coordinates does not have exactly one axis or is empty, if a direction is
    not like the parameters, if the loss is not a floating-point scalar, or if `batch_size` is below
    one. For a `Risk`, also as `Hessian`.
    """
    check_count("batch_size", batch_size)
    if not directions or len(directions) != len(coordinates):
        raise ValueError(
            f"There are {len(directions)} `directions` and {len(coordinates)} arrays of "
            "`coordinates`, but their numbers must be equal and at least 1: pass one array for "
            "each direction."
        )
    axes = tuple(map(jnp.asarray, coordinates))
    for index, points in enumerate(axes):
        if points.ndim != 1 or points.size == 0:
            raise ValueError(
                f"`coordinates[{index}]` has the shape {points.shape}, but must have one axis and "
                "at least one point: pass an array such as `jnp.linspace(-1, 1, 21)` for each "
                "direction."
            )
    check_risk(loss, params)
    structure = structure_of(params)
    directions = tuple(_like(structure, d, i) for i, d in enumerate(directions))
    return _evaluate(loss, params, directions, axes, batch_size)


def _like(structure: PyTree[jax.ShapeDtypeStruct], direction: PyTree, index: int) -> PyTree:
    got = structure_of(direction)
    shapes = lambda tree: jax.tree.map(lambda s: s.shape, tree)
    if shapes(got) != shapes(structure):
        raise ValueError(
            f"`directions[{index}]` has the structure {got}, but must have that of the parameters, "
            f"{structure}: pass a pytree with one array for each parameter."
        )
    return split_parameters(direction)[0]


@eqx.filter_jit
def _evaluate(
    loss: Callable[[PyTree], Any],
    params: PyTree,
    directions: tuple[PyTree, ...],
    coordinates: tuple[Real[Array, " _"], ...],
    batch_size: int,
) -> Float[Array, "*grid"]:
    params, constants = split_parameters(params)

    def at(point: Float[Array, " directions"]) -> Float[Array, ""]:
        moved = params
        for x, direction in zip(point, directions, strict=True):
            moved = jax.tree.map(lambda p, d, x=x: p + (x * d).astype(p.dtype), moved, direction)
        return scalar_value(loss(eqx.combine(moved, constants)))

    grid = jnp.stack(jnp.meshgrid(*coordinates, indexing="ij"), axis=-1)
    points = grid.reshape(-1, len(coordinates))
    with jax.default_matmul_precision("highest"):
        losses = jax.lax.map(at, points, batch_size=min(batch_size, len(points)))
    return losses.reshape(grid.shape[:-1])
