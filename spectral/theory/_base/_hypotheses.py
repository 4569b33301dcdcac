"""Checks of the hypotheses of theorems."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from ...curvature import GaussNewton, Risk
from ...models import activations_of, DescribesUnits, Elementwise


def check_relu_network(statement: str, model: DescribesUnits) -> None:
    """Reject networks other than plain ReLU networks.

    **Raises:** `ValueError` naming the statement and the hypothesis that fails.
    """
    activations = activations_of(model)
    functions = [a.function for a in activations if isinstance(a, Elementwise)]
    if len(functions) < max(len(activations), 1) or any(f is not jax.nn.relu for f in functions):
        found = [getattr(f, "__name__", repr(f)) for f in functions] or "none"
        raise ValueError(
            f"{statement} has the hypothesis that all hidden units are ReLUs, but `model` has "
            f"{len(activations)} activations, of which the elementwise ones are {found}: create it "
            'with `activation="relu"`.'
        )
    for group in model.units():
        if group.scale or group.shift or group.statistics:
            raise ValueError(
                f"{statement} has the hypothesis that a unit depends on its own weights alone, but "
                f"`{group.name}` of `model` is normalised: create it without BatchNorm or "
                "LayerNorm."
            )
        if not group.replaceable or group.copies != 1:
            raise ValueError(
                f"{statement} has the hypothesis that each unit has its own outgoing weights and "
                f"one activation, but the units of `{group.name}` do not: create `model` without "
                "residual connections or doubled activations."
            )


def check_examples(statement: str, inputs: ArrayLike) -> None:
    """Reject an empty set of inputs, for which every unit is dead, and inputs that are not finite.

    **Raises:** `ValueError` naming the statement.
    """
    array = np.asarray(inputs)
    if array.size == 0 or not np.all(np.isfinite(array)):
        got = f"have the shape {array.shape}" if array.size == 0 else "are not all finite"
        raise ValueError(
            f"{statement} has the hypothesis of at least one example with finite inputs, but "
            f"`inputs` {got}: pass the inputs of a task."
        )


def check_no_kink(
    statement: str, pre: dict[str, Float[Array, "examples units *positions"]]
) -> None:
    """Reject pre-activations of exactly 0, where a ReLU network has no second derivative.

    **Raises:** `ValueError` naming the statement, the layer, the unit and the example.
    """
    for name, values in pre.items():
        at_zero = np.argwhere(np.asarray(values) == 0)
        if len(at_zero):
            example, unit = at_zero[0][:2]
            raise ValueError(
                f"{statement} has the hypothesis that the loss is twice differentiable at `model`, "
                f"but unit {unit} of `{name}` has the pre-activation 0, the kink of the ReLU, on "
                f"example {example}: remove that example, perturb the weights slightly, or pass "
                "`as_computed=True` for the Hessian that JAX computes."
            )


def output_shape(statement: str, risk: Risk, params: PyTree) -> tuple[int, ...]:
    """The shape of the outputs of one example, if they are one array.

    **Raises:** `ValueError` naming the statement if they are several, and as the constructors of
    operators if the targets do not fit the loss or an output depends on other examples.
    """
    outputs: Any = eqx.filter_eval_shape(lambda p: risk.forward(p, risk.inputs), params)
    if not isinstance(outputs, jax.ShapeDtypeStruct):
        raise ValueError(
            f"{statement} has the hypothesis of one array of outputs, but `forward` returned "
            f"{jax.tree.structure(outputs)}: pass a risk whose `forward` returns one array."
        )
    # The constructor checks the targets and that no output depends on other examples.
    GaussNewton(risk, params)
    return outputs.shape[1:]


def as_points(name: str, points: ArrayLike) -> np.ndarray:
    """A finite set of points, `[points, dimension]`, in float64.

    **Raises:** `ValueError` for an empty set, another shape, or a coordinate that is not finite.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"`{name}` has the shape {array.shape}, but a distance between sets has the hypothesis "
            "of at least one point in each, `[points, dimension]`: flatten the inputs of each "
            "example, and pass no empty set."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"`{name}` has coordinates that are not finite, but a distance needs finite points: "
            "remove the others."
        )
    return array
