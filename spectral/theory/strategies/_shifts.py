"""Strategies for what changes between tasks."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._numbers import as_array, labels, numbers


class TaskShift(eqx.Module):
    """The inputs of a task and of the next one."""

    old: Float[Array, "old in_size"]
    new: Float[Array, "new in_size"]


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
    return TaskShift(old=as_array(old), new=as_array(old + scale * moves))


@st.composite
def task_sequences(
    draw: Callable[..., Any],
    *,
    num_tasks: int = 3,
    num_examples: int = 5,
    in_size: int = 2,
    max_shift: float = 2.0,
) -> tuple:
    """Draws the inputs `[examples, size]` of several tasks.

    The first are in the box from -2 to 2; those of each later task are the inputs of the task
    before after a move, as in `task_shifts`.
    """
    each = numbers(num_examples, in_size)
    sequence = [draw(each)]
    for _ in range(num_tasks - 1):
        scale = draw(st.integers(0, 8)) * max_shift / 16
        sequence.append(sequence[-1] + scale * draw(each))
    return tuple(as_array(x) for x in sequence)


class LabelFlip(eqx.Module):
    """The labels of a task, and of the next one on the same inputs."""

    old: Int[Array, " examples"]
    new: Int[Array, " examples"]


@st.composite
def label_flips(
    draw: Callable[..., Any], *, num_examples: int = 5, num_classes: int = 2
) -> LabelFlip:
    """Draws class labels, and the labels after some of them were replaced by other classes. Any
    number of labels may change, also none or all."""
    old = np.asarray(draw(labels(num_examples=num_examples, num_classes=num_classes)))
    moves = draw(labels(num_examples=num_examples, num_classes=num_classes))
    return LabelFlip(jnp.asarray(old), jnp.asarray((old + np.asarray(moves)) % num_classes))
