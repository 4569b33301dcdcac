"""Cloned units: they stay clones, and they cost rank."""

import equinox as eqx
import numpy as np
from jaxtyping import Int

from ...models import MLP


def clones(model: MLP) -> tuple[Int[np.ndarray, " units"], ...]:
    """Returns for each hidden layer the class of each unit. Units of one class are clones: equal
    incoming weights, biases and outgoing weights.

    Clones have equal activations for every input and equal gradients for every loss. So they stay
    clones under gradient descent on any minibatches, with weight decay, and with momentum or Adam
    if the states of the optimiser are equal too (Joudaki et al., 2025, arXiv 2510.00304, who also
    treat blocks of weights with equal sums of rows and columns). Dropout and noise separate them.
    Units with equal incoming but unequal outgoing weights have different gradients, and
    separate in one step.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.models import MLP
    from spectral.theory import clone_rank_bound, clones

    model = MLP(3, 2, width=4, depth=1, key=jax.random.key(0))
    where = lambda m: [layer.weight for layer in m.layers]
    twins = eqx.tree_at(where, model, [jnp.ones((4, 3)), jnp.ones((2, 4))])
    clones(twins), clone_rank_bound(twins)  # ([0, 0, 0, 0],), 8
    ```

    **Raises:** `ValueError` for normalised or sparse networks, and for activations with several
    outputs for each unit.
    """
    layers = _dense_layers(model)
    classes = []
    for layer, after in zip(layers[:-1], layers[1:], strict=True):
        rows = np.concatenate([layer[0], layer[1][:, None], after[0].T], axis=1)
        classes.append(np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1))
    return tuple(classes)


def clone_rank_bound(model: MLP) -> int:
    """Returns an upper bound on the rank of the Gauss-Newton matrix from the clones of a network,
    for any loss, data and elementwise activation.

    The derivative of the outputs in a weight depends only on the classes of the two units that it
    connects. So the number of different columns of the Jacobian is at most the number of
    parameters of the network with its clones merged. In a two-layer network a class of c clones
    costs (c - 1)(I + O + 1).

    The bound is not one on the Hessian. Its residual connects the incoming and the outgoing weights
    of each clone, also in directions in which clones separate. It holds for the Hessian where the
    loss of each example has no gradient in the outputs.

    **Raises:** `ValueError` as `clones`.
    """
    layers = _dense_layers(model)
    distinct = [int(c.max()) + 1 for c in clones(model)]
    sizes = [layers[0][0].shape[1], *distinct, layers[-1][0].shape[0]]
    return sum(out * (size + 1) for size, out in zip(sizes[:-1], sizes[1:], strict=True))


def _dense_layers(model: MLP) -> list[tuple[np.ndarray, np.ndarray]]:
    plain = all(isinstance(layer, eqx.nn.Linear) for layer in model.layers)
    normalised = any(norm is not None for norm in model.norms)
    shapes = [layer.weight.shape for layer in model.layers]
    single = all(a[0] == b[1] for a, b in zip(shapes[:-1], shapes[1:], strict=True))
    if not plain or normalised or not single:
        raise ValueError(
            f"`model` has layers of the shapes {shapes}, "
            f"{'with' if normalised else 'without'} normalisation, but clones have the hypothesis "
            "of dense layers without normalisation, with one activation for each unit: create it "
            "with `density=1`, without `layer_norm`, and with an elementwise activation."
        )
    return [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in model.layers]
