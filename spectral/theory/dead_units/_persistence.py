"""Lemma 6.3 and Definition 6.4: which dead units stay dead when the inputs change."""

import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from ..._arguments import check_above, check_no_nan
from ...models import DescribesUnits
from ..task_shift._hausdorff import directed_hausdorff, Nearest, PAIRWISE
from ._layer_inputs import dense_layers, layer_inputs


def remains_dead(
    radii: Real[ArrayLike, " units"], distance: Real[ArrayLike, ""]
) -> Bool[np.ndarray, " units"]:
    """The indicators xi of Definition 6.4: units that are dead on the new inputs by Lemma 6.3.

    A unit whose indicator is false may be dead or alive. An indicator that is true only because of
    rounding turns false for `radii` minus their `radius_errors`.

    **Arguments:**

    - `radii`: of the units of one layer, from `persistence_radii` on the old inputs.
    - `distance`: `directed_hausdorff(new, old)` of the inputs of this layer, or an upper bound.

    **Raises:** `ValueError` if `distance` is negative or not finite.
    """
    check_above("distance", distance, 0, strict=False)
    return np.asarray(np.asarray(radii) >= np.asarray(distance))


def persistence_probabilities(
    radii: Real[ArrayLike, " units"], distances: Real[ArrayLike, " draws"]
) -> Float[np.ndarray, " units"]:
    """Returns for each unit the fraction of task shifts under which it `remains_dead` (p of
    Definition 6.4).

    **Arguments:**

    - `radii`: as for `remains_dead`.
    - `distances`: directed Hausdorff distances of independent draws of the next task's inputs.

    **Raises:** `ValueError` if `distances` is empty, negative or not finite, or if `radii` has NaN.
    """
    check_no_nan("radii", radii)
    drawn = np.sort(np.ravel(np.asarray(distances)))
    check_above("distances", drawn, 0, strict=False)
    if drawn.size == 0:
        raise ValueError(
            "`distances` is empty, but a fraction needs at least one draw: pass the distances of "
            "several draws of the next task."
        )
    return np.asarray(np.searchsorted(drawn, np.asarray(radii), side="right") / drawn.size)


def layer_shifts(
    model: DescribesUnits,
    old: Float[Array, "old in_size"],
    new: Float[Array, "new in_size"],
    *,
    nearest: Nearest = PAIRWISE,
) -> dict[str, float]:
    """Returns the directed Hausdorff distance from `new` to `old` in the space of each layer's
    inputs. `remains_dead(radii[name], shifts[name])` is Lemma 6.3 for layer `name`.

    **Raises:** `ValueError` as `persistence_radii` and `directed_hausdorff`.
    """
    layers = dense_layers("Lemma 6.3", model)
    before, after = layer_inputs(layers, old), layer_inputs(layers, new)
    return {name: directed_hausdorff(after[name], before[name], nearest=nearest) for name in after}


def lipschitz_constants(model: DescribesUnits) -> dict[str, float]:
    """Returns a Lipschitz constant of the map from the network's inputs to the inputs of each
    layer: the product of the spectral norms of the weights before it, 1 for the first layer.

    Lemma 6.3 holds in layer `name` for the distance `constants[name] * directed_hausdorff(new,
    old)`. This is larger than the distance that `layer_shifts` measures, but needs no forward pass
    on the new inputs.

    **Raises:** `ValueError` as `persistence_radii`.
    """
    result, constant = {}, 1.0
    for group in dense_layers("Lemma 6.3", model).units():
        result[group.name] = constant
        weight = np.asarray(group.incoming[0].read(model), np.float64)
        constant *= float(np.linalg.norm(weight, 2))
    return result
