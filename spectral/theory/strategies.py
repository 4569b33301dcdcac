"""Random networks, inputs and task shifts for property-based tests, with hypothesis.

Needs the extra `testing` (`pip install "spectral-plasticity[testing]"`). A bound of your own is
tried on networks like this; when it fails, hypothesis shows the smallest network that breaks it:

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

All drawn numbers are small multiples of powers of two. So sums and products are exact, numbers are
easy to read, and, with biases half a step off the grid, no pre-activation is 0 on what `inputs`
draws: every network is twice differentiable there, and on the old inputs of a task shift. The new
ones lie on a finer grid, on which a pre-activation may be 0. One call of a strategy draws one shape
of network, so that what is tested compiles once.
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


_STEP = 0.25  # weights, inputs and margins are multiples of it
_MOST = 8  # and at most so many times it


class TaskShift(eqx.Module):
    """The inputs of a task and of the one after it."""

    old: Float[Array, "old in_size"]
    new: Float[Array, "new in_size"]


def numbers(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """Arrays of multiples of 1/4 from -2 to 2."""
    # Without a fill every entry is drawn by itself, and few are equal.
    integers = hnp.arrays(np.int64, shape, elements=st.integers(-_MOST, _MOST), fill=st.nothing())
    return integers.map(lambda a: a * _STEP)


def inputs(
    num_examples: int = 5, in_size: int = 2
) -> st.SearchStrategy[Float[Array, "examples size"]]:
    """Inputs in the box from -2 to 2."""
    return numbers(num_examples, in_size).map(_as_array)


def targets(
    num_examples: int = 5, out_size: int = 2
) -> st.SearchStrategy[Float[Array, "n out_size"]]:
    """Real targets from -2 to 2."""
    return numbers(num_examples, out_size).map(_as_array)


def labels(num_examples: int = 5, classes: int = 2) -> st.SearchStrategy[Int[Array, " examples"]]:
    """Class labels."""
    drawn = hnp.arrays(
        np.int64, num_examples, elements=st.integers(0, classes - 1), fill=st.nothing()
    )
    return drawn.map(jnp.asarray)


@st.composite
def task_shifts(
    draw: Callable[..., Any], num_examples: int = 5, in_size: int = 2, most: float = 2.0
) -> TaskShift:
    """Inputs in the box from -2 to 2, and the same number of inputs after they have moved.

    Each input moves by its own vector; all vectors are scaled by one number that is drawn too, from
    0 to `most` / 2, so that small shifts are as frequent as large ones.
    """
    old, moves = draw(numbers(num_examples, in_size)), draw(numbers(num_examples, in_size))
    scale = draw(st.integers(0, 8)) * most / 16
    return TaskShift(old=_as_array(old), new=_as_array(old + scale * moves))


@st.composite
def margins(draw: Callable[..., Any], units: int = 4) -> Float[np.ndarray, " units"]:
    """For each unit the gamma with which it is to be dead, from 0 to 2; NaN for one to be left as
    it is."""
    drawn = draw(st.lists(st.none() | st.integers(0, _MOST), min_size=units, max_size=units))
    return np.array([np.nan if g is None else g * _STEP for g in drawn])


def relu_networks(
    in_size: int = 2,
    *,
    width: int = 4,
    depth: int = 1,
    out_size: int = 2,
    dead: Callable[..., st.SearchStrategy[np.ndarray]] = margins,
) -> st.SearchStrategy[MLP]:
    """`MLP`s of ReLUs, some of whose units are dead on all of the box from -2 to 2.

    **Arguments:**

    - `in_size`, `width`, `depth`, `out_size`: the shape, which is not drawn.
    - `dead`: `dead(width)` draws the margins of the dead units of a layer. A unit with margin gamma
        is gamma-margin dead on the box, and on nothing larger: so it may wake when the inputs leave
        the box. (In deeper layers the box of activations is a bound, and margins are larger.)
    """
    template = MLP(in_size, out_size, width=width, depth=depth, key=jax.random.key(0))
    shapes = [layer.weight.shape for layer in template.layers]
    # Made once, and not for each network that is drawn.
    weights = [numbers(*shape) for shape in shapes]
    biases = [numbers(shape[0]) for shape in shapes]
    gammas = [*(dead(width) for _ in range(depth)), st.just(np.full(out_size, np.nan))]
    return _filled(template, list(zip(weights, biases, gammas, strict=True)))


@st.composite
def _filled(draw: Callable[..., Any], template: MLP, layers: list[Any]) -> MLP:
    step = _STEP
    low, high = -_MOST * _STEP, _MOST * _STEP  # what the inputs of the layer lie between
    drawn = []
    for weights, biases, gammas in layers:
        weight, gamma = draw(weights), draw(gammas)
        step = step * _STEP  # of the pre-activations without their biases
        reach = np.maximum(weight * low, weight * high).sum(axis=1)
        bias = draw(biases) + step / 2
        bias = np.where(np.isnan(gamma), bias, -reach - gamma - step / 2)
        low, high = 0.0, max(float(np.max(reach + bias)), 0.0)
        step = step / 2
        drawn += [_as_array(weight), _as_array(bias)]
    where = lambda m: [x for layer in m.layers for x in (layer.weight, layer.bias)]
    return eqx.tree_at(where, template, drawn)


def probabilities(units: int = 6) -> st.SearchStrategy[Float[np.ndarray, " units"]]:
    """Multiples of 1/16 from 0 to 1."""
    drawn = hnp.arrays(np.int64, units, elements=st.integers(0, 16), fill=st.nothing())
    return drawn.map(lambda a: a / 16)


def symmetric_matrices(size: int = 4) -> st.SearchStrategy[Float[np.ndarray, "size size"]]:
    """Symmetric matrices of multiples of 1/8."""
    return numbers(size, size).map(lambda a: (a + a.T) / 2)


def covariances(size: int = 3, samples: int = 4) -> st.SearchStrategy[Float[np.ndarray, "n n"]]:
    """Positive semi-definite matrices of rank at most `samples`, some of them singular."""
    return numbers(samples, size).map(lambda a: a.T @ a)


def _as_array(values: np.ndarray) -> Array:
    return jnp.asarray(values, dtype=float)
