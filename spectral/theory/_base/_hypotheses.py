"""Where the hypotheses of the theorems are checked."""

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ...models import activations_of, DescribesUnits, Elementwise


def check_relu_network(statement: str, model: DescribesUnits) -> None:
    """Refuse networks that a statement about plain ReLU networks says nothing about.

    **Raises:** `ValueError` naming the statement and the hypothesis that fails.
    """
    activations, groups = activations_of(model), model.units()
    functions = [a.function for a in activations if isinstance(a, Elementwise)]
    if len(functions) < max(len(activations), 1) or any(f is not jax.nn.relu for f in functions):
        found = [getattr(f, "__name__", repr(f)) for f in functions] or "none"
        raise ValueError(
            f"{statement} has the hypothesis that all hidden units are ReLUs, but `model` has the "
            f"elementwise activations {found} of {len(activations)}: make it with "
            '`activation="relu"`.'
        )
    for group in groups:
        if group.scale or group.shift or group.statistics:
            raise ValueError(
                f"{statement} has the hypothesis that a unit is determined by its own weights, but "
                f"`{group.name}` of `model` is normalised: make it without BatchNorm or LayerNorm."
            )
        if not group.replaceable or group.copies != 1:
            raise ValueError(
                f"{statement} has the hypothesis that units have outgoing weights of their own and "
                f"one activation each, but those of `{group.name}` have not: make `model` without "
                "residual connections or doubled activations."
            )


def check_examples(statement: str, inputs: ArrayLike) -> None:
    """Refuse inputs of which nothing, or everything, could be said.

    **Raises:** `ValueError` naming the statement, for no examples or numbers that are not finite.
    """
    array = np.asarray(inputs)
    if array.size == 0 or not np.all(np.isfinite(array)):
        got = f"the shape {array.shape}" if array.size == 0 else "numbers that are not finite"
        raise ValueError(
            f"{statement} has the hypothesis of at least one example of finite numbers, but the "
            f"inputs have {got}: on no examples every unit is dead. Pass those of a task."
        )


def check_no_kink(
    statement: str, pre: dict[str, Float[Array, "examples units *positions"]]
) -> None:
    """Refuse pre-activations that are exactly 0, where a ReLU network has no second derivative.

    **Raises:** `ValueError` naming the statement, the layer and the unit.
    """
    for name, values in pre.items():
        at_zero = np.argwhere(np.asarray(values) == 0)
        if len(at_zero):
            example, unit = at_zero[0][:2]
            raise ValueError(
                f"{statement} has the hypothesis that the loss is twice differentiable at `model`, "
                f"but unit {unit} of `{name}` has the pre-activation 0, the kink of the ReLU, on "
                f"example {example}: leave such inputs out, or move the weights by a little."
            )


def as_points(name: str, points: ArrayLike) -> np.ndarray:
    """A finite set of points, `[points, dimension]`, in float64.

    **Raises:** `ValueError` for an empty set, another shape, or a coordinate that is not finite.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"`{name}` has the shape {array.shape}, but a distance between sets has the hypothesis "
            "of at least one point in each, `[points, dimension]`: flatten the inputs of examples, "
            "and pass no empty set."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` has coordinates that are not finite: leave such points out.")
    return array
