"""Hypothesis strategies for random networks, inputs and task shifts.

They need the extra `testing` (`pip install "spectral-plasticity[testing]"`). Test your own bound on
such networks; if it fails, hypothesis shows the smallest network that violates it:

```python
import jax.numpy as jnp
from hypothesis import given, settings
from spectral.theory import directed_hausdorff, persistence_radii, remains_dead
from spectral.theory.strategies import relu_networks, task_shifts

@settings(max_examples=5, deadline=None)
@given(relu_networks(), task_shifts())
def test_dead_units_persist(model, shift):
    radii = persistence_radii(model, shift.old)["hidden_0"]
    survivors = remains_dead(radii, directed_hausdorff(shift.new, shift.old))
    _, taps = jax.vmap(model)(shift.new)
    assert jnp.all(taps["hidden_0"][:, survivors] == 0)

test_dead_units_persist()
```

All numbers are small multiples of powers of two, so sums and products are exact and the numbers are
easy to read. Biases lie half a step off the grid, so no pre-activation is 0 on the inputs that
`inputs` draws or on the old inputs of a task shift, and every network is twice differentiable
there. The new inputs of a task shift lie on a finer grid, where a pre-activation may be 0. All
networks that one strategy draws have the same shape, so the code under test compiles once.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..models import MLP


_STEP = 0.25  # weights, inputs and margins are multiples of this step,
_MAX_STEPS = 8  # at most this many times the step


class TaskShift(eqx.Module):
    """The inputs of a task and of the next one."""

    old: Float[Array, "old in_size"]
    new: Float[Array, "new in_size"]


def numbers(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """Draws arrays of multiples of 1/4 from -2 to 2."""
    steps = st.integers(-_MAX_STEPS, _MAX_STEPS)
    # Without a fill every entry is drawn separately, so few are equal.
    integers = hnp.arrays(np.int64, shape, elements=steps, fill=st.nothing())
    return integers.map(lambda a: a * _STEP)


def inputs(
    *, num_examples: int = 5, in_size: int = 2
) -> st.SearchStrategy[Float[Array, "examples size"]]:
    """Draws inputs in the box from -2 to 2."""
    return numbers(num_examples, in_size).map(_as_array)


def targets(
    *, num_examples: int = 5, out_size: int = 2
) -> st.SearchStrategy[Float[Array, "n out_size"]]:
    """Draws real targets from -2 to 2."""
    return numbers(num_examples, out_size).map(_as_array)


def labels(
    *, num_examples: int = 5, num_classes: int = 2
) -> st.SearchStrategy[Int[Array, " examples"]]:
    """Draws class labels."""
    elements = st.integers(0, num_classes - 1)
    drawn = hnp.arrays(np.int64, num_examples, elements=elements, fill=st.nothing())
    return drawn.map(jnp.asarray)


@st.composite
def task_shifts(
    draw: Callable[..., Any],
    *,
    num_examples: int = 5,
    in_size: int = 2,
    max_shift: float = 2.0,
) -> TaskShift:
    """Draws inputs in the box from -2 to 2, and the same number of inputs after they have moved.

    Each input moves by its own vector, by at most `max_shift` in each coordinate. All vectors are
    scaled by one number that is drawn too, so small shifts are as frequent as large ones.
    """
    old, moves = draw(numbers(num_examples, in_size)), draw(numbers(num_examples, in_size))
    scale = draw(st.integers(0, 8)) * max_shift / 16
    return TaskShift(old=_as_array(old), new=_as_array(old + scale * moves))


@st.composite
def margins(draw: Callable[..., Any], *, num_units: int = 4) -> Float[np.ndarray, " units"]:
    """Draws for each unit the margin gamma of a dead unit, from 0 to 2, or NaN for a unit that is
    left unchanged."""
    gammas = st.none() | st.integers(0, _MAX_STEPS)
    drawn = draw(st.lists(gammas, min_size=num_units, max_size=num_units))
    return np.array([np.nan if g is None else g * _STEP for g in drawn])


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
    # Its weights are replaced by drawn ones, so none are computed.
    template = eqx.filter_eval_shape(
        MLP, in_size, out_size, width=width, depth=depth, key=jax.random.key(0)
    )
    shapes = [layer.weight.shape for layer in template.layers]
    # The strategies are created once, not for each network.
    weights = [numbers(*shape) for shape in shapes]
    biases = [numbers(shape[0]) for shape in shapes]
    gammas = [*(dead(num_units=width) for _ in range(depth)), st.just(np.full(out_size, np.nan))]
    return _filled(template, list(zip(weights, biases, gammas, strict=True)))


@st.composite
def _filled(draw: Callable[..., Any], template: MLP, layers: list[Any]) -> MLP:
    step = _STEP
    low, high = -_MAX_STEPS * _STEP, _MAX_STEPS * _STEP  # the range of the layer's inputs
    drawn = []
    for weights, biases, gammas in layers:
        weight, gamma = draw(weights), draw(gammas)
        step = step * _STEP  # the grid of the pre-activations without their biases
        reach = np.maximum(weight * low, weight * high).sum(axis=1)
        bias = draw(biases) + step / 2
        bias = np.where(np.isnan(gamma), bias, -reach - gamma - step / 2)
        low, high = 0.0, max(float(np.max(reach + bias)), 0.0)
        step = step / 2
        drawn += [_as_array(weight), _as_array(bias)]
    where = lambda m: [x for layer in m.layers for x in (layer.weight, layer.bias)]
    return eqx.tree_at(where, template, drawn)


def probabilities(*, num_units: int = 6) -> st.SearchStrategy[Float[np.ndarray, " units"]]:
    """Draws multiples of 1/16 from 0 to 1."""
    drawn = hnp.arrays(np.int64, num_units, elements=st.integers(0, 16), fill=st.nothing())
    return drawn.map(lambda a: a / 16)


def symmetric_matrices(*, size: int = 4) -> st.SearchStrategy[Float[np.ndarray, "size size"]]:
    """Draws symmetric matrices of multiples of 1/8."""
    return numbers(size, size).map(lambda a: (a + a.T) / 2)


def covariances(
    *, size: int = 3, num_samples: int = 4
) -> st.SearchStrategy[Float[np.ndarray, "n n"]]:
    """Draws positive semi-definite matrices of rank at most `num_samples`."""
    return numbers(num_samples, size).map(lambda a: a.T @ a)


def _as_array(values: np.ndarray) -> Array:
    return jnp.asarray(values, dtype=float)
