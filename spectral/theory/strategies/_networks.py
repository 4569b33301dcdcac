"""Strategies for networks."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ...models import MLP
from ._numbers import as_array, MAX_STEPS, numbers, STEP


@st.composite
def margins(draw: Callable[..., Any], *, num_units: int = 4) -> Float[np.ndarray, " units"]:
    """Draws for each unit the margin gamma of a dead unit, from 0 to 2, or NaN for a unit that is
    left unchanged."""
    gammas = st.none() | st.integers(0, MAX_STEPS)
    drawn = draw(st.lists(gammas, min_size=num_units, max_size=num_units))
    return np.array([np.nan if g is None else g * STEP for g in drawn])


def relu_networks(
    *,
    in_size: int = 2,
    width: int = 4,
    depth: int = 1,
    out_size: int = 2,
    dead: Callable[..., st.SearchStrategy[np.ndarray]] = margins,
) -> st.SearchStrategy[MLP]:
    """Draws `MLP`s of ReLUs. Some of their units are dead on the whole box from -2 to 2.

    **Arguments:**

    - `in_size`, `width`, `depth`, `out_size`: the shape of all networks.
    - `dead`: `dead(num_units=width)` draws the margins of the dead units of a layer. A unit with
        margin gamma is gamma-margin dead on the box and on no larger set, so it may wake when the
        inputs leave the box. (In deeper layers the box contains all activations, so margins are
        larger.)
    """
    template = _mlp(in_size, width, depth, out_size)
    shapes = [layer.weight.shape for layer in template.layers]
    # The strategies are created once, not for each network.
    weights = [numbers(*shape) for shape in shapes]
    biases = [numbers(shape[0]) for shape in shapes]
    gammas = [*(dead(num_units=width) for _ in range(depth)), st.just(np.full(out_size, np.nan))]
    return _filled(template, list(zip(weights, biases, gammas, strict=True)))


@st.composite
def _filled(draw: Callable[..., Any], template: MLP, layers: list[Any]) -> MLP:
    step = STEP
    low, high = -MAX_STEPS * STEP, MAX_STEPS * STEP  # the range of the layer's inputs
    drawn = []
    for weights, biases, gammas in layers:
        weight, gamma = draw(weights), draw(gammas)
        step = step * STEP  # the grid of the pre-activations without their biases
        reach = np.maximum(weight * low, weight * high).sum(axis=1)
        bias = draw(biases) + step / 2
        bias = np.where(np.isnan(gamma), bias, -reach - gamma - step / 2)
        low, high = 0.0, max(float(np.max(reach + bias)), 0.0)
        step = step / 2
        drawn += [as_array(weight), as_array(bias)]
    return _with(template, drawn)


def networks(make: Callable[[PRNGKeyArray], Any]) -> st.SearchStrategy[Any]:
    """Draws networks of any class: every floating-point array of `make(key)` is replaced by
    multiples of 1/4 from -2 to 2.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import strategies

    tanh = strategies.networks(
        lambda key: MLP(2, 2, width=4, depth=1, activation="tanh", layer_norm=True, key=key)
    )
    ```

    Pre-activations may be exactly 0; `relu_networks` draws networks without kinks.

    **Raises:** `ValueError` if the network has arrays of other numbers, such as integers.
    """
    leaves, tree = jax.tree.flatten(eqx.filter_eval_shape(make, jax.random.key(0)))
    drawn = [st.just(leaf) for leaf in leaves]
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise ValueError(
                    f"The network of `make` has an array of {leaf.dtype} {leaf.shape}, but every "
                    "array must hold floating-point numbers: make a network without such arrays."
                )
            drawn[i] = numbers(*leaf.shape).map(as_array)
    return st.tuples(*drawn).map(lambda filled: jax.tree.unflatten(tree, filled))


def cloned_networks(
    *, in_size: int = 2, width: int = 4, depth: int = 1, out_size: int = 2
) -> st.SearchStrategy[MLP]:
    """Draws ReLU `MLP`s with cloned units: the units of each hidden layer belong to drawn classes,
    and units of one class have equal incoming weights, biases and outgoing weights."""
    return _cloned(_mlp(in_size, width, depth, out_size), in_size, out_size)


@st.composite
def _cloned(draw: Callable[..., Any], template: MLP, in_size: int, out_size: int) -> MLP:
    before, drawn = list(range(in_size)), []
    for index, layer in enumerate(template.layers):
        width = layer.weight.shape[0]
        own = list(range(out_size))
        if index < len(template.layers) - 1:
            own = draw(st.lists(st.integers(0, width - 1), min_size=width, max_size=width))
        weight, bias = draw(numbers(width, layer.weight.shape[1])), draw(numbers(width))
        drawn += [as_array(weight[own][:, before]), as_array(bias[own])]
        before = own
    return _with(template, drawn)


def _mlp(in_size: int, width: int, depth: int, out_size: int) -> MLP:
    """The shapes of an MLP. Its weights are replaced by drawn ones, so none are computed."""
    key = jax.random.key(0)
    return eqx.filter_eval_shape(MLP, in_size, out_size, width=width, depth=depth, key=key)


def _with(template: MLP, drawn: list[Any]) -> MLP:
    where = lambda m: [x for layer in m.layers for x in (layer.weight, layer.bias)]
    return eqx.tree_at(where, template, drawn)
