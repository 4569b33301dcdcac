"""The data of a stream, and how they are visited and presented."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from ...._arguments import as_int, check_kind
from ..._base._limits import check_at_most
from ..._base._splits import Split
from ..sets._labelled_data import AbstractLabelledData, check_labelled
from ._loader import InputTransform, Loader


class LabelledSource(eqx.Module):
    """The data, loader and sizes of a stream. All streams of one labelled set have one.

    **Arguments:**

    - `data`: images or another labelled set.
    - `loader`: by default `Loader()`.
    - `smallest_task`, `largest_task`: the numbers of training rows of the smallest and of the
      largest task, by default those of the set.
    - `smallest_test`, `smallest_validation`: the numbers of test and validation rows of the task
      with the fewest, by default those of the set.

    **Raises:** `TypeError` if `data` or `loader` is of another kind. `ValueError` if the smallest
    task does not fill a minibatch, if a task may have no training or test rows, or no validation
    rows although there are some, or if the loader changes images and the data are not images.
    """

    data: AbstractLabelledData
    loader: Loader
    inputs: InputTransform
    minibatches: int = eqx.field(static=True, converter=as_int)  # in an epoch of the largest task
    even: bool = eqx.field(static=True)  # every task has this number of minibatches

    def __init__(
        self,
        data: AbstractLabelledData,
        loader: Loader | None,
        *,
        smallest_task: int | None = None,
        largest_task: int | None = None,
        smallest_test: int | None = None,
        smallest_validation: int | None = None,
    ):
        check_labelled("data", data)
        loader = Loader() if loader is None else loader
        check_kind("loader", loader, Loader, "tasks.Loader(minibatch_size=50)")
        size = loader.minibatch_size
        rows = data.num_rows("train")
        smallest = rows if smallest_task is None else smallest_task
        tests = data.num_rows("held_out") if smallest_test is None else smallest_test
        fewest = (
            ("training", smallest, "trained"),
            ("test", tests, "evaluated"),
            ("validation", smallest_validation, "evaluated"),
        )
        for what, number, used in fewest:
            if number == 0:
                raise ValueError(
                    f"{data.name!r} has too few {what} rows, so that a task may have none to be "
                    f"{used} on: add {what} rows to every class, take more classes in a task, "
                    f"or pass an `order` without the classes that have no {what} rows."
                )
        check_at_most(
            "minibatch_size", size, smallest, f"the smallest task has {smallest} training rows"
        )
        if loader.augmentation is not None and not data.channels_last:
            raise ValueError(
                f"`augmentation` is {loader.augmentation!r}, which changes images, but "
                f"{data.name!r} has inputs of shape {data.in_shape}: leave it out, or store the "
                "images in an `ImageSet`."
            )
        whole = (rows if largest_task is None else largest_task) // size
        limit = loader.max_minibatches
        self.data = data
        self.inputs = InputTransform(data, loader)
        augmentation = loader.augmentation
        if augmentation is not None:
            loader = replace(loader, augmentation=augmentation.with_zero(self.inputs.shift))
        self.loader = loader
        self.minibatches = whole if limit is None else min(whole, limit)
        self.even = smallest // size >= self.minibatches

    def all_rows(self, split: Split) -> tuple[Int[Array, " rows"], Int[Array, ""]]:
        """Returns every row of a split, and their number."""
        rows = self.data.num_rows(split)
        return jnp.arange(rows), jnp.asarray(rows, int)
