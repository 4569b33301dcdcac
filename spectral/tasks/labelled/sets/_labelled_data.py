"""The interface between labelled data and the streams made from them."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ..._base._label_loss import Labels
from ..._base._splits import Split


class AbstractLabelledData(eqx.Module):
    """Inputs and labels of training rows, of held-out test rows and perhaps of validation rows.

    `ImageSet` holds images as bytes. `LabelledSet` holds inputs of any shape, and labels that are
    classes, several answers for each row, or numbers.
    """

    name: eqx.AbstractVar[str]
    channels_last: eqx.AbstractClassVar[bool]  # the network takes the last axis first

    @abstractmethod
    def part(self, split: Split) -> tuple[Shaped[Array, "rows ..."], Labels]:
        """Returns the inputs, as they are stored, and the labels of a split.

        **Raises:** `ValueError` for a split that does not exist.
        """

    @abstractmethod
    def input_scale(self, *, standardise: bool) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Returns the shift and the scale of network inputs, `(stored - shift) / scale`. With
        `standardise`, they give the training rows zero mean and unit variance."""

    @property
    @abstractmethod
    def has_validation(self) -> bool:
        """Whether there are validation rows."""

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of an input as the network takes it."""
        shape = self.part("train")[0].shape[1:]
        return (shape[-1], *shape[:-1]) if self.channels_last else shape

    @property
    @abstractmethod
    def out_size(self) -> int:
        """The number of outputs that a network needs: of classes, of answers, or of numbers."""

    @property
    def has_classes(self) -> bool:
        """Whether the labels are one class for each row."""
        return jnp.issubdtype(self.part("train")[1].dtype, jnp.integer)

    def num_rows(self, split: Split) -> int:
        """Returns the number of rows of a split."""
        return len(self.part(split)[1])


def check_labelled(name: str, data: Any) -> None:
    """**Raises:** `TypeError` naming what to make of it, if `data` is not labelled data."""
    if not isinstance(data, AbstractLabelledData):
        pair = isinstance(data, tuple) and len(data) == 2
        inputs = "*data" if pair else "inputs, labels"
        raise TypeError(
            f"`{name}` is {shown(data)}, but must be a set of labelled rows: pass "
            f"`tasks.labelled_set({inputs})`, or images from `tasks.load_images`."
        )


def shown(data: Any) -> str:
    """What was passed, for messages: arrays by their shape."""
    if isinstance(data, tuple):
        return f"a tuple of {len(data)}"
    shape = getattr(data, "shape", None)
    of_shape = f" of shape {tuple(shape)}" if isinstance(shape, tuple) else ""
    return f"of type {type(data).__name__}{of_shape}"
