"""Lemma 6.3 and Definition 6.4: which dead units stay dead when the inputs change."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from ..._arguments import check_above, check_no_nan
from ...models import apply_network, DescribesUnits, margins, MLP, pre_activations
from .._base._hypotheses import check_examples, check_relu_network
from ..task_shift._hausdorff import directed_hausdorff, Nearest, PAIRWISE


def persistence_radii(
    model: DescribesUnits, inputs: Float[Array, "examples in_size"]
) -> dict[str, Float[Array, " units"]]:
    """Returns how far the inputs of a layer may move before one of its dead units can wake:
    gamma / ||w||, by layer.

    Lemma 6.3: a unit with weights w that is gamma-margin dead on `inputs` is dead on any other set
    whose directed Hausdorff distance from it is at most gamma / ||w||. The radius is negative for a
    living unit and infinite for a dead unit whose weights are all 0. The distance is that of the
    layer's own inputs. For the first layer these are the inputs of the network; for deeper layers
    see `layer_shifts` and `lipschitz_constants`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.models import MLP
    from spectral.theory import directed_hausdorff, persistence_radii, remains_dead

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    old = jax.random.normal(jax.random.key(1), (10, 3))
    new = old + 0.01
    radii = persistence_radii(model, old)["hidden_0"]
    remains_dead(radii, directed_hausdorff(new, old))  # [8]
    ```

    **Raises:** `ValueError` naming the hypothesis that fails: the network is not an `MLP` of ReLUs
    without normalisation, or there are no examples.
    """
    layers = _dense("Lemma 6.3", model)
    check_examples("Lemma 6.3", inputs)
    return _radii(layers, inputs)


def remains_dead(
    radii: Real[ArrayLike, " units"], distance: Real[ArrayLike, ""]
) -> Bool[np.ndarray, " units"]:
    """The indicators xi of Definition 6.4: units that are dead on the new inputs by Lemma 6.3.

    A unit whose indicator is false may be dead or alive.

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
    layers = _dense("Lemma 6.3", model)
    before, after = _layer_inputs(layers, old), _layer_inputs(layers, new)
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
    for group in _dense("Lemma 6.3", model).units():
        result[group.name] = constant
        weight = np.asarray(group.incoming[0].read(model), np.float64)
        constant *= float(np.linalg.norm(weight, 2))
    return result


def _dense(statement: str, model: DescribesUnits) -> MLP:
    if not isinstance(model, MLP):
        raise ValueError(
            f"{statement} has the hypothesis that each layer multiplies the activations of the "
            f"previous one by a matrix, but `model` is of type {type(model).__name__}: pass an "
            "`MLP`."
        )
    check_relu_network(statement, model)
    return model


@eqx.filter_jit
def _radii(model: MLP, inputs: Array) -> dict[str, Array]:
    result, pre = {}, pre_activations(model, inputs)
    for group in model.units():
        norms = jnp.linalg.norm(group.incoming[0].read(model), axis=1)
        gamma = margins(pre[group.name])
        without = jnp.where(gamma >= 0, jnp.inf, -jnp.inf)
        result[group.name] = jnp.where(norms > 0, gamma / jnp.where(norms > 0, norms, 1), without)
    return result


@eqx.filter_jit
def _layer_inputs(model: MLP, inputs: Array) -> dict[str, Array]:
    taps = apply_network(model, None, inputs, inference=True)[1].taps
    features = [inputs, *(taps[group.name] for group in model.units())]
    return {g.name: x for g, x in zip(model.units(), features, strict=False)}
