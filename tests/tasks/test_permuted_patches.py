"""Permuted patches, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import tasks
from spectral.tasks.labelled.rows._labelled_rows import LabelledRows


def images(height: int, width: int) -> tasks.ImageSet:
    pixels = np.random.default_rng(0).integers(0, 255, (8, height, width, 2), np.uint8)
    labels = jnp.asarray([0, 1] * 4)
    parts = jnp.asarray(pixels), labels, jnp.asarray(pixels), labels
    return tasks.ImageSet("tiny", *parts, num_classes=2, max_value=255)


def test_patches_move_and_their_pixels_stay():
    stream = tasks.PermutedPatches(
        images(4, 6), 2, num_tasks=2, loader=tasks.Loader(minibatch_size=2)
    )
    assert stream.num_patches == 6
    stored = np.asarray(stream.source.data.part("train")[0])
    order = np.array([4, 0, 5, 1, 3, 2])
    rows = LabelledRows(jnp.asarray(stored), jnp.zeros(8, int), jnp.arange(8), "train")
    batch = jax.jit(lambda order, rows: stream.present(order, rows))(order, rows)
    corners = [(2 * (i // 3), 2 * (i % 3)) for i in range(6)]
    expected = np.zeros_like(stored)
    for to, origin in zip(corners, order, strict=True):
        top, left = corners[origin]
        patch = stored[:, top : top + 2, left : left + 2]
        expected[:, to[0] : to[0] + 2, to[1] : to[1] + 2] = patch
    np.testing.assert_allclose(batch.inputs, np.moveaxis(expected / 255, -1, 1), rtol=1e-6)


@pytest.mark.parametrize(("size", "patch"), [((4, 6), 4), ((4, 6), 3), ((4, 4), 4), ((4, 4), 8)])
def test_patches_that_do_not_divide_images_are_rejected(size, patch):
    height, width = size
    allowed = rf"{height} x {width} pixels into several patches: pass one of 1, 2\."
    with pytest.raises(ValueError, match=f"`patch_size` is {patch}, but must divide .*{allowed}"):
        tasks.PermutedPatches(images(*size), patch)
