"""The usual losses, with their curvature in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import as_int_or_none, check_above, check_count
from ..._base._precision import in_single
from ._elementwise import AbstractElementwiseLoss, check_same_shape, Columns, Outputs
from ._loss import AbstractLoss
from ._sigmoid import drawn_labels, sigmoid_gradient, sigmoid_loss, sigmoid_second_derivative
from ._softmax import (
    is_class_index,
    probabilities,
    softmax_gradient,
    softmax_hessian_product,
    softmax_loss,
)


class SquaredError(AbstractElementwiseLoss):
    """scale * ||outputs - targets||^2 for each example, summed over the entries of its outputs.

    With the default scale of 1/2 the Hessian in the outputs is the identity. PyTorch's
    `MSELoss()` over C outputs corresponds to a scale of 1/C. As a likelihood, the loss belongs to
    a Gaussian of variance 1 / (2 scale).

    **Raises:** `ValueError` if `scale` is not positive and, when the loss is used, if the targets
    do not have the shape of the outputs.
    """

    scale: Float[Array, ""]

    def __init__(self, *, scale: float | Float[Array, ""] = 0.5):
        check_above("scale", scale, 0)
        self.scale = jnp.asarray(scale, dtype=float)

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        check_same_shape(outputs, targets)
        errors = in_single(outputs) - targets
        return self.scale * jnp.sum(errors.reshape(outputs.shape[0], -1) ** 2, axis=1)

    def second_derivative(self, outputs: Outputs, targets: Array) -> Float[Array, ""]:
        return 2 * self.scale

    def sampled_gradient(self, outputs: Outputs, targets: Array, *, key: PRNGKeyArray) -> Outputs:
        outputs = in_single(outputs)
        root = jnp.sqrt(2 * self.scale).astype(outputs.dtype)
        return root * jax.random.normal(key, outputs.shape, outputs.dtype)


class SigmoidCrossEntropy(AbstractElementwiseLoss):
    """The negative log-likelihood, in nats, of independent binary labels under sigmoid outputs.

    The outputs are logits; a label is 0, 1 or a probability. The loss of an example is the sum
    over its outputs. The derivatives are exact to rounding for any logit, and `Sampled` draws a
    label of probability p with this probability even if p is below the machine epsilon.

    **Raises:** `ValueError`, when the loss is used, if the targets do not have the shape of the
    outputs, or if one is not in [0, 1]. Under `jax.jit` the values of the targets are unknown: the
    loss and all of its derivatives are then NaN for an entry whose target is not in [0, 1].
    """

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        losses = sigmoid_loss(*self._pair(outputs, targets))
        return jnp.sum(losses.reshape(outputs.shape[0], -1), axis=1)

    def second_derivative(self, outputs: Outputs, targets: Array) -> Outputs:
        return sigmoid_second_derivative(*self._pair(outputs, targets))

    def sampled_gradient(self, outputs: Outputs, targets: Array, *, key: PRNGKeyArray) -> Outputs:
        outputs, targets = self._pair(outputs, targets)
        labels = drawn_labels(outputs, key=key).astype(outputs.dtype)
        valid = (targets >= 0) & (targets <= 1)
        return jnp.where(valid, sigmoid_gradient(outputs, labels), jnp.nan)

    def check_targets(self, outputs: PyTree, targets: Array) -> None:
        check_same_shape(outputs, targets)
        if isinstance(targets, Tracer):
            return
        values = np.asarray(targets)
        wrong = np.argwhere(~((values >= 0) & (values <= 1)))
        if wrong.size:
            where = tuple(map(int, wrong[0]))
            raise ValueError(
                f"`targets` is {values[where]} at {where}, but must be 0, 1 or a probability, one "
                "for each output: encode the labels so, for labels of -1 and 1 with "
                "`(targets + 1) / 2`."
            )

    def _pair(self, outputs: Outputs, targets: Array) -> tuple[Outputs, Outputs]:
        """Outputs and targets as floating-point numbers of one type."""
        self.check_targets(outputs, targets)
        outputs = in_single(outputs)
        return outputs, targets.astype(outputs.dtype)


class SoftmaxCrossEntropy(AbstractLoss):
    """The negative log-likelihood, in nats, of integer labels under softmax outputs (logits).

    The outputs are `[examples, ..., classes]` and the labels `[examples, ...]`: one label for each
    example, or one for each position of a sequence or an image. The loss of an example is the sum
    over its positions. The mean of a `Risk` is over all labels of the whole set that count, as in
    PyTorch's `CrossEntropyLoss`, and does not depend on how they are divided into batches.

    The loss and its derivatives are exact to rounding for any confidence. `Sampled` draws labels
    with single-precision random numbers and never draws those of a probability below about 1e-9.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import SoftmaxCrossEntropy

    logits = jnp.zeros((2, 3, 5))  # two sequences of three positions, five classes
    labels = jnp.array([[4, 0, -100], [1, -100, -100]])  # the sequences end earlier
    SoftmaxCrossEntropy(ignore_label=-100).losses(logits, labels)  # [2 log 5, log 5]
    ```

    **Arguments:**

    - `ignore_label`: a label that marks positions that do not count, such as PyTorch's -100. Their
        loss and its derivatives are 0. By default there is none.

    **Raises:** `ValueError` if `ignore_label` is not an integer in 32 bits; when the loss is used,
    unless the outputs and the targets have these
    shapes and the targets are integers from 0 to the number of classes minus one, or
    `ignore_label`, and if all of them are `ignore_label`. Under `jax.jit` the values of the targets
    are unknown: the loss and all of its derivatives are then NaN where a label is out of range, and
    the mean is NaN if no label counts.
    """

    ignore_label: int | None = eqx.field(static=True, converter=as_int_or_none)

    def __init__(self, *, ignore_label: int | None = None):
        if ignore_label is not None:
            check_count("ignore_label", ignore_label, minimum=-(2**31))
        self.ignore_label = ignore_label

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        outputs, labels, counts = self._read(outputs, targets)
        losses = _where(counts, softmax_loss(outputs, labels))
        return losses if losses.ndim == 1 else jnp.sum(losses.reshape(losses.shape[0], -1), axis=1)

    def hessian_product(self, outputs: Outputs, targets: Array, tangent: Outputs) -> Outputs:
        outputs, labels, counts = self._read(outputs, targets)
        valid = is_class_index(outputs, labels)
        return _where(counts, softmax_hessian_product(outputs, valid, in_single(tangent)))

    def hessian_root(self, outputs: Outputs, targets: Array) -> Columns:
        outputs, labels, counts = self._read(outputs, targets)
        # diag(p) - p p^T = S S^T with the columns S_k = sqrt(p_k) (e_k - p).
        p = _where(counts, probabilities(outputs, is_class_index(outputs, labels)))
        classes = jnp.eye(p.shape[-1], dtype=p.dtype).reshape(-1, *[1] * (p.ndim - 1), p.shape[-1])
        columns = jnp.moveaxis(jnp.sqrt(p), -1, 0)[..., None] * (classes - p[None])
        if p.ndim == 2:
            return columns
        # Positions do not interact: a column for each position and class, 0 at all other positions.
        flat = columns.reshape(p.shape[-1], p.shape[0], -1, p.shape[-1])
        positions = jnp.eye(flat.shape[2], dtype=bool)[:, None, None, :, None]
        return jnp.where(positions, flat[None], 0).reshape(-1, *p.shape)

    def sampled_gradient(self, outputs: Outputs, targets: Array, *, key: PRNGKeyArray) -> Outputs:
        outputs, labels, counts = self._read(outputs, targets)
        gradient = softmax_gradient(outputs, jax.random.categorical(key, outputs))
        valid = is_class_index(outputs, labels)
        return _where(counts, jnp.where(valid[..., None], gradient, jnp.nan))

    def counts(self, targets: Array) -> Int[Array, " examples"] | None:
        if targets.ndim == 1 and self.ignore_label is None:
            return None
        return jnp.sum(self._counting(targets).reshape(targets.shape[0], -1), axis=1)

    def check_targets(self, outputs: PyTree, targets: Array) -> None:
        """`outputs` may be a `jax.ShapeDtypeStruct`."""
        labels = targets.shape == outputs.shape[:-1] and jnp.issubdtype(targets.dtype, jnp.integer)
        if outputs.ndim < 2 or not labels:
            raise ValueError(
                f"The outputs have the shape {outputs.shape} and `targets` is {targets.dtype} "
                f"{targets.shape}, but the outputs must be `[examples, ..., classes]` and the "
                "targets integers `[examples, ...]`: for other data, such as probabilities of "
                "labels, pass your own function `(outputs, targets) -> losses`."
            )
        if isinstance(targets, Tracer):
            return
        values = np.asarray(targets)
        counting = np.ones(values.shape, bool)
        if self.ignore_label is not None:
            counting = values != self.ignore_label
        wrong = np.argwhere(counting & ((values < 0) | (values >= outputs.shape[-1])))
        if wrong.size:
            where = tuple(map(int, wrong[0]))
            raise ValueError(
                f"`targets` has the label {values[where]} at {where}, but the outputs have "
                f"{outputs.shape[-1]} classes, so labels must be from 0 to "
                f"{outputs.shape[-1] - 1}: correct the labels, or mark those that do not count "
                "with `SoftmaxCrossEntropy(ignore_label=...)`."
            )

    def _read(
        self, outputs: Outputs, targets: Array
    ) -> tuple[Outputs, Int[Array, "..."], Bool[Array, "..."] | None]:
        """The logits, the labels, and which labels count; `None` for all."""
        self.check_targets(outputs, targets)
        # Small types of integers cannot be compared with any number of classes.
        outputs, labels = in_single(outputs), targets.astype(int)
        if self.ignore_label is None:
            return outputs, labels, None
        counts = self._counting(targets)
        return outputs, jnp.where(counts, labels, 0), counts

    def _counting(self, targets: Array) -> Bool[Array, "..."]:
        if self.ignore_label is None:
            return jnp.ones(targets.shape, bool)
        return targets.astype(int) != self.ignore_label


def _where(counts: Bool[Array, "..."] | None, values: Array) -> Array:
    """The values of the labels that count, and 0 for the others."""
    if counts is None:
        return values
    return jnp.where(counts.reshape(*counts.shape, *[1] * (values.ndim - counts.ndim)), values, 0)
