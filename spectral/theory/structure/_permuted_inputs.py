"""The kernel of a network on permuted inputs is that of another network on the original ones."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from ..._blas import single_threaded_blas
from ...curvature import Gram, Risk, SquaredError
from ...models import FrozenGates, MLP


def unpermuted(model: MLP | FrozenGates, permutation: Int[ArrayLike, " entries"]) -> Any:
    """Returns the network that does with the original inputs what `model` does with permuted ones.

    A permuted input is x[permutation], as in `tasks.PermutedInputs`, and X P for a matrix of
    inputs. The first layer computes W (X P)^T = (W P^T) X^T. So the network with W P^T in the place
    of W has equal activations, outputs and losses. Its gradients in all other parameters are equal,
    and those in W P^T are the ones in W times P^T. P is orthogonal, so all inner products of
    gradients are equal, and with them the neural tangent kernel and every eps-rank:

    K(X P; W) = K(X; W P^T).

    So a new permutation changes the kernel exactly as a permutation of the columns of W does, with
    the other layers as they are. If the columns of W are exchangeable, as they are initially, the
    kernel has the same distribution in every task. What changes it is what training did to the
    columns.

    ```python
    model, order = MLP(3, 2, width=4, depth=1, key=jax.random.key(0)), jnp.array([2, 0, 1])
    x = jnp.array([1.0, 2.0, 3.0])
    model(x[order])[0], unpermuted(model, order)(x)[0]  # equal
    ```

    **Raises:** `ValueError` if `permutation` does not hold each index of an input once, or if the
    first layer is sparse.
    """
    first = model.weight if isinstance(model, FrozenGates) else model.layers[0].weight
    order = np.asarray(permutation)
    if not np.array_equal(np.sort(order), np.arange(first.shape[1])):
        raise ValueError(
            f"`permutation` is {permutation}, but must hold each of the indices from 0 to "
            f"{first.shape[1] - 1} once: pass for example `jax.random.permutation(key, "
            f"{first.shape[1]})`."
        )
    inverse = np.argsort(order)
    if isinstance(model, FrozenGates):
        places = lambda m: (m.weight, m.gates.bits)
    elif isinstance(model.layers[0], eqx.nn.Linear):
        places = lambda m: (m.layers[0].weight,)
    else:
        raise ValueError(
            "`model` has a sparse first layer, but the statement has the hypothesis of one with "
            "all connections: create it with `density=1`."
        )
    return eqx.tree_at(places, model, tuple(p[:, inverse] for p in places(model)))


def permuted_kernel_gap(
    model: MLP | FrozenGates,
    inputs: Float[ArrayLike, "examples entries"],
    permutation: Int[ArrayLike, " entries"],
) -> Float[np.ndarray, ""]:
    """Returns the largest difference between the kernel of `model` on permuted inputs and that of
    `unpermuted(model, permutation)` on the original ones, divided by the largest entry.

    It is 0 up to rounding. Both kernels are formed, so pass at most some hundreds of examples.

    **Raises:** `ValueError` as `unpermuted`.
    """
    other, rows = unpermuted(model, permutation), jnp.asarray(inputs)
    with single_threaded_blas():
        permuted = _kernel(model, rows[:, np.asarray(permutation)])
        original = _kernel(other, rows)
    largest = np.max(np.abs(original))
    return np.asarray(np.max(np.abs(permuted - original)) / (largest if largest > 0 else 1.0))


def _kernel(model: Any, rows: Float[Array, "examples entries"]) -> np.ndarray:
    outputs = lambda m, x: jax.vmap(m)(x)[0]
    shape = eqx.filter_eval_shape(outputs, model, rows)
    # The Hessian of half the squared distance is the identity.
    risk = Risk(outputs, SquaredError(), rows, jnp.zeros(shape.shape, shape.dtype))
    return np.asarray(Gram(risk, model).dense())
