"""The same images with permuted patches."""

import math
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._image_set import check_images, ImageSet
from ._labelled_stream import AbstractLabelledStream


class PermutedPatches(AbstractLabelledStream[Int[Array, " patches"]]):
    """Every task permutes the patches of all images. The pixels of a patch stay as they are.

    At a task boundary a permutation is drawn and applied to the *original* images, so that tasks do
    not compound. A network that cuts an image into the same patches, such as a Vision Transformer,
    sees the same patches in other positions. Every epoch visits all training rows. The task is
    evaluated on all test rows under the same permutation.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=50)
    stream = tasks.PermutedPatches(images, patch_size=2, num_tasks=5, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "inputs"
    source: LabelledSource
    patch_size: int = eqx.field(static=True, converter=as_int)
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        images: ImageSet,
        patch_size: int,
        *,
        num_tasks: int = 100,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `images`: from `load_images`.
        - `patch_size`: the height and width of a patch in pixels.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for patches that do not divide the images, for a single patch, for
        no tasks, or for a minibatch larger than the training set.
        """
        check_images("images", images, instead="PermutedInputs")
        check_count("patch_size", patch_size)
        check_count("num_tasks", num_tasks)
        height, width = images.train_images.shape[1:3]
        common = math.gcd(height, width)
        if common % patch_size or patch_size == height == width:
            sizes = [s for s in range(1, common + 1) if not common % s and not s == height == width]
            allowed = ", ".join(map(str, sizes))
            raise ValueError(
                f"`patch_size` is {patch_size}, but must divide images of {height} x {width} "
                f"pixels into several patches: pass one of {allowed}."
            )
        self.source = LabelledSource(images, loader)
        self.patch_size = patch_size
        self.num_tasks = num_tasks

    @property
    def num_patches(self) -> int:
        """The number of patches of an image."""
        return math.prod(self._grid)

    def first_change(self, *, key: PRNGKeyArray) -> Int[Array, " patches"]:
        return jnp.arange(self.num_patches)

    def next_change(
        self, change: Int[Array, " patches"], clock: Clock, *, key: PRNGKeyArray
    ) -> Int[Array, " patches"]:
        return jax.random.permutation(key, self.num_patches)

    def present(self, change: Int[Array, " patches"], rows: LabelledRows) -> LabelledBatch:
        examples, height, width, channels = rows.inputs.shape
        down, across = self._grid
        size = self.patch_size
        cut = rows.inputs.reshape(examples, down, size, across, size, channels).swapaxes(2, 3)
        patches = cut.reshape(examples, -1, size, size, channels)[:, change]
        joined = patches.reshape(cut.shape).swapaxes(2, 3).reshape(rows.inputs.shape)
        return LabelledBatch(self.source.inputs(joined), rows.labels)

    @property
    def _grid(self) -> tuple[int, int]:
        """Patches from top to bottom, and from left to right."""
        height, width = self.source.data.part("train")[0].shape[1:3]
        return height // self.patch_size, width // self.patch_size
