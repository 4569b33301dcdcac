"""Losses whose Hessian in the outputs is diagonal."""

from abc import abstractmethod
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._base._precision import in_single
from ._loss import AbstractLoss


# Targets are checked by hand: without type checking, different shapes would be broadcast.
Outputs = Float[Array, "examples *entries"]  # noqa: F821 (ruff reads a product of two names)
Columns = Float[Array, "columns examples *entries"]


class AbstractElementwiseLoss(AbstractLoss):
    """A loss that is a sum over the entries of an example's outputs, so H is diagonal."""

    @abstractmethod
    def second_derivative(self, outputs: Outputs, targets: Array) -> Float[Array, "..."]:
        """The diagonal of H for each example, or one number for all entries."""

    def hessian_product(self, outputs: Outputs, targets: Array, tangent: Outputs) -> Outputs:
        check_same_shape(outputs, targets)
        tangent = in_single(tangent)
        return self.second_derivative(outputs, targets).astype(tangent.dtype) * tangent

    def hessian_root(self, outputs: Outputs, targets: Array) -> Columns:
        check_same_shape(outputs, targets)
        outputs = in_single(outputs)
        root = jnp.sqrt(self.second_derivative(outputs, targets)).astype(outputs.dtype)
        flat = jnp.broadcast_to(root, outputs.shape).reshape(outputs.shape[0], -1)
        columns = jnp.eye(flat.shape[1], dtype=flat.dtype)[:, None, :] * flat[None]
        return columns.reshape(-1, *outputs.shape)


def check_same_shape(outputs: Any, targets: Array) -> None:
    """**Raises:** `ValueError` if outputs and targets differ in shape."""
    # Outputs `[examples, 1]` and targets `[examples]` would be broadcast to all pairs of examples.
    if targets.shape != outputs.shape:
        raise ValueError(
            f"`targets` has the shape {targets.shape}, but must have the shape of the outputs, "
            f"{outputs.shape}: reshape one of the two, for example with `targets[:, None]`."
        )
