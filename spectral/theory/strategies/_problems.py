"""Strategies for networks together with data, in one of a few shapes, and trained ones."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._networks import relu_networks
from ._numbers import inputs, targets


_SHAPES = (
    {"in_size": 2, "width": 4, "depth": 1, "out_size": 2},
    {"in_size": 1, "width": 3, "depth": 2, "out_size": 2},
    {"in_size": 3, "width": 2, "depth": 1, "out_size": 1},
)


class Problem(eqx.Module):
    """A network and data that fit it."""

    model: Any
    inputs: Float[Array, "examples in_size"]
    targets: Float[Array, "examples out_size"]


def problems(
    *,
    shapes: Sequence[dict[str, int]] = _SHAPES,
    networks: Callable[..., st.SearchStrategy] = relu_networks,
    num_examples: int = 5,
) -> st.SearchStrategy[Problem]:
    """Draws networks with inputs and targets, in one of a few shapes.

    The code under test compiles once for each shape.

    **Arguments:**

    - `shapes`: dicts of `in_size`, `width`, `depth` and `out_size`.
    - `networks`: `networks(**shape)` draws the network, such as `relu_networks`,
        `cloned_networks`, or your own function that calls `strategies.networks`.
    """
    return st.one_of(
        [
            st.builds(
                Problem,
                networks(**shape),
                inputs(num_examples=num_examples, in_size=shape["in_size"]),
                targets(num_examples=num_examples, out_size=shape["out_size"]),
            )
            for shape in shapes
        ]
    )


def trained(
    drawn: st.SearchStrategy[Problem], *, steps: int = 50, lr: float = 0.01
) -> st.SearchStrategy[Problem]:
    """Trains the networks of drawn problems: `steps` steps of gradient descent on half the mean
    squared error.

    Problems on which descent diverges are not drawn. The weights of trained networks are not on a
    grid, and their units may be dead on the inputs without a margin.
    """
    moved = drawn.map(lambda p: eqx.tree_at(lambda q: q.model, p, descended(p, steps, lr)))
    finite = lambda p: all(
        bool(jnp.all(jnp.isfinite(x)))
        for x in jax.tree.leaves(eqx.filter(p.model, eqx.is_inexact_array))
    )
    return moved.filter(finite)


@eqx.filter_jit
def descended(problem: Problem, steps: Any, lr: Any) -> Any:
    params, static = eqx.partition(problem.model, eqx.is_inexact_array)

    def loss(p: Any) -> Float[Array, ""]:
        outputs, _ = jax.vmap(eqx.combine(p, static))(problem.inputs)
        return jnp.mean(jnp.sum((outputs - problem.targets) ** 2, axis=1)) / 2

    step = lambda _, p: jax.tree.map(lambda a, g: a - lr * g, p, jax.grad(loss)(p))
    return eqx.combine(jax.lax.fori_loop(0, steps, step, params), static)
