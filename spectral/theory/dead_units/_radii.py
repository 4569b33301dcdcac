"""Lemma 6.3: how far the inputs of a dead unit may move before it can wake."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ...models import DescribesUnits, margins, MLP, pre_activations
from .._base._hypotheses import check_examples
from ._layer_inputs import dense_layers, layer_inputs


def persistence_radii(
    model: DescribesUnits, inputs: Float[Array, "examples in_size"]
) -> dict[str, Float[np.ndarray, " units"]]:
    """Returns how far the inputs of a layer may move before one of its dead units can wake:
    gamma / ||w||, by layer, in float64.

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

    gamma is that of the computed pre-activations. A margin of a few units in the last place is
    uncertain: in exact arithmetic the unit may be alive. `radius_errors` bounds the difference.

    **Raises:** `ValueError` naming the hypothesis that fails: the network is not an `MLP` of ReLUs
    without normalisation, or there are no examples.
    """
    layers = dense_layers("Lemma 6.3", model)
    check_examples("Lemma 6.3", inputs)
    gammas = {
        name: np.asarray(gamma, np.float64) for name, gamma in _margins(layers, inputs).items()
    }
    return {
        name: _per_norm(gammas[name], weight, np.where(gammas[name] >= 0, np.inf, -np.inf))
        for name, (weight, _) in _weights(layers).items()
    }


def radius_errors(
    model: DescribesUnits, inputs: Float[Array, "examples in_size"]
) -> dict[str, Float[np.ndarray, " units"]]:
    """Returns by how much rounding may have changed each of the `persistence_radii`.

    `remains_dead(radii - errors, distance)` marks the units that stay dead in exact arithmetic. A
    unit is uncertain if it is marked without the errors and not with them, as are units with a
    margin of a few units in the last place: their computed pre-activation is at most 0, and the
    exact one may be above 0.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import persistence_radii, radius_errors, remains_dead

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (10, 3))
    radii, errors = (f(model, inputs)["hidden_0"] for f in (persistence_radii, radius_errors))
    uncertain = remains_dead(radii, 0.0) & ~remains_dead(radii - errors, 0.0)
    ```

    The bound is that of a sum of m + 1 products in any order (Higham, 2002, section 3.1), (m + 2)
    eps (|w| . |x| + |b|), and (m + 1) times the smallest normal number for products that underflow,
    both divided by ||w||. It takes the inputs of a layer as they were computed, and requires
    products in the precision of the arrays: on a GPU set `jax.default_matmul_precision("highest")`.

    **Raises:** `ValueError` as `persistence_radii`.
    """
    layers = dense_layers("Lemma 6.3", model)
    check_examples("Lemma 6.3", inputs)
    result, before = {}, layer_inputs(layers, inputs)
    for name, (weight, bias) in _weights(layers).items():
        x, size = np.abs(np.asarray(before[name], np.float64)), weight.shape[1]
        precision = np.finfo(before[name].dtype)
        sums = np.max(x @ np.abs(weight).T, axis=0) + np.abs(bias)
        error = (size + 2) * float(precision.eps) * sums + (size + 1) * float(precision.tiny)
        result[name] = _per_norm(error, weight, np.zeros(len(error)))
    return result


def _per_norm(
    numbers: Float[np.ndarray, " units"],
    weight: Float[np.ndarray, "units size"],
    without: Float[np.ndarray, " units"],
) -> Float[np.ndarray, " units"]:
    """The numbers divided by the norms of the rows, or those of `without` for rows of zeros."""
    # Squares of small weights underflow, so each row is divided by its largest entry first.
    largest = np.max(np.abs(weight), axis=1)
    scale = np.where(largest > 0, largest, 1.0)
    norms = np.linalg.norm(weight / scale[:, None], axis=1)
    with np.errstate(over="ignore"):
        return np.where(largest > 0, numbers / scale / np.where(largest > 0, norms, 1.0), without)


def _weights(model: MLP) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The weights and biases of each hidden layer in float64, which holds subnormal float32."""
    read = lambda entries: np.asarray(entries.read(model), np.float64)
    return {
        g.name: (read(g.incoming[0]), read(g.bias[0]) if g.bias else np.zeros(g.size))
        for g in model.units()
    }


@eqx.filter_jit
def _margins(model: MLP, inputs: Array) -> dict[str, Array]:
    return {name: margins(values) for name, values in pre_activations(model, inputs).items()}
