"""Weights of PyTorch's networks of the same shape, as a mapping of names to arrays."""

from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._arguments import check_kind
from ._torch_places import Places, torch_places


Network = TypeVar("Network")


def from_state_dict(
    network: Network, arrays: Mapping[str, Any], *, model_state: eqx.nn.State | None = None
) -> tuple[Network, eqx.nn.State | None]:
    """Returns the network and its state with the weights of PyTorch's network of the same shape.

    `arrays` is the `state_dict()` of an `nn.Module`, with NumPy arrays as values. The layouts are
    equal: `[out, in]`, `[out, in, rows, columns]`, and channels before positions where an image is
    flattened. The names are these:

    - `MLP`: an `nn.Sequential` of `Linear`, a norm if there is one, the activation, ..., `Linear`.
      Without norms these are `0.weight`, `0.bias`, `2.weight`, ...
    - `ConvNet`: an `nn.Sequential` of `Conv2d`, a norm if there is one, the activation,
      `MaxPool2d` unless `pooling=False`, ..., `Flatten`, and the dense layers as in an `MLP`. With
      two convolutions and pooling these are `0.weight`, `0.bias`, `3.weight`, `3.bias`,
      `7.weight`, `7.bias`, `9.weight`, ...
    - `ResNet18`: torchvision's `resnet18`, with `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.bn1`,
      ..., `layer2.0.downsample.0`, ..., `fc`. With dense hidden layers, `fc` is an `nn.Sequential`
      as an `MLP`: `fc.0`, `fc.2`, ...

    The convolutions of torchvision have no bias. If all of these biases are missing, they are zero
    here, which is the same network. The first convolution of this `ResNet18` is 3 x 3 without
    pooling. `running_mean` and `running_var` go into the state, `num_batches_tracked` is ignored.

    ```python
    import jax
    import numpy as np
    from spectral import models

    model = models.MLP(3, 2, width=4, depth=1, key=jax.random.key(0))
    arrays = {"0.weight": np.ones((4, 3)), "0.bias": np.zeros(4)}
    arrays |= {"2.weight": np.ones((2, 4)), "2.bias": np.zeros(2)}
    model, _ = models.from_state_dict(model, arrays)
    ```

    **Arguments:**

    - `network`: an `MLP`, `ConvNet` or `ResNet18` of the same shape. It is not changed.
    - `arrays`: names to arrays.
    - `model_state`: the state of a network with running statistics. It is not changed.

    **Raises:** `ValueError` that names all arrays that are missing, unknown or of another shape, or
    if the network has running statistics and `model_state` is `None`; `TypeError` for another
    network, or if `arrays` is not a mapping.
    """
    check_kind("arrays", arrays, Mapping, "module.state_dict()")
    places = torch_places(network)
    _check_state(network, places, model_state)
    given = {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}
    left_out = {place.name for place in places.parameters if place.optional}
    without = left_out if not left_out & given.keys() else set()
    shapes = {p.name: p.where(network).shape for p in places.parameters if p.name not in without}
    for name, where in places.norms:
        shape = where(network).weight.shape
        shapes |= {f"{name}.running_mean": shape, f"{name}.running_var": shape}
    _check_arrays(network, given, shapes)

    def put(name: str, old: jax.Array) -> jax.Array:
        return jnp.zeros_like(old) if name in without else jnp.asarray(given[name], old.dtype)

    network = eqx.tree_at(
        lambda m: [place.where(m) for place in places.parameters],
        network,
        [put(place.name, place.where(network)) for place in places.parameters],
    )
    return network, None if model_state is None else _with_statistics(network, model_state, given)


def to_state_dict(
    network: Any, *, model_state: eqx.nn.State | None = None
) -> dict[str, np.ndarray]:
    """Returns the weights and running statistics of a network under the names of PyTorch's network
    of the same shape, see `from_state_dict`.

    A `ResNet18` has a bias in every convolution, so PyTorch's needs `bias=True`.
    `num_batches_tracked` is 0: PyTorch does not use it with a fixed momentum.

    ```python
    import jax
    from spectral import models

    model = models.MLP(3, 2, width=4, depth=1, key=jax.random.key(0))
    sorted(models.to_state_dict(model))  # ["0.bias", "0.weight", "2.bias", "2.weight"]
    ```

    **Raises:** `ValueError` if the network has running statistics and `model_state` is `None`, or
    has parameters that PyTorch's network does not have; `TypeError` for another network.
    """
    places = torch_places(network)
    _check_state(network, places, model_state)
    found = {place.name: np.asarray(place.where(network)) for place in places.parameters}
    if model_state is not None:
        for name, where in places.norms:
            mean, variance = model_state.get(where(network).statistics)
            found[f"{name}.running_mean"] = np.asarray(mean)
            found[f"{name}.running_var"] = np.asarray(variance)
            found[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
    return found


def _with_statistics(
    network: Any, model_state: eqx.nn.State, given: Mapping[str, Any]
) -> eqx.nn.State:
    state = jax.tree.map(lambda x: x, model_state)  # `set` makes the state invalid that it changes
    for name, where in torch_places(network).norms:
        mean, variance = state.get(where(network).statistics)
        new = (
            jnp.asarray(given[f"{name}.running_mean"], mean.dtype),
            jnp.asarray(given[f"{name}.running_var"], variance.dtype),
        )
        state = state.set(where(network).statistics, new)
    return state


def _check_state(network: Any, places: Places, model_state: eqx.nn.State | None) -> None:
    if places.norms and model_state is None:
        raise ValueError(
            f"`model_state` is None, but this {type(network).__name__} keeps running statistics: "
            "pass the state that `eqx.nn.make_with_state` made with it."
        )


def _check_arrays(
    network: Any, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    wrong = [
        f"{name} has the shape {np.shape(given[name])} instead of {shape}"
        for name, shape in shapes.items()
        if name in given and np.shape(given[name]) != shape
    ]
    missing = [f"{name} is missing" for name in shapes if name not in given]
    unknown = [f"{name} is unknown" for name in given if name not in shapes]
    if wrong or missing or unknown:
        raise ValueError(
            f"`arrays` does not fit this {type(network).__name__}: "
            f"{'; '.join([*missing, *unknown, *wrong])}. Make the network with the sizes and norms "
            "of PyTorch's, or rename the arrays as `from_state_dict` describes."
        )
