"""Random changes of single images."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import tasks


ZERO = jnp.array([0.5, 1.5, 2.5])  # the value of each channel that a network sees as 0


@jax.jit
def _look(image):
    keys = jax.random.split(jax.random.key(0), 200)
    changed = [
        jax.vmap(change, in_axes=(None, 0))(image, keys)
        for change in (
            tasks.Flip(),
            tasks.Crop(padding=1),
            tasks.Rotate(degrees=120.0),
            tasks.Rotate(degrees=(0.0, 120.0), fill="zero").with_zero(ZERO),
        )
    ]
    angles = 90.0 * jnp.arange(4)
    return *changed, jax.vmap(tasks.rotated, in_axes=(None, 0))(image, angles)


def test_changes_of_single_images():
    image = np.arange(1, 49, dtype=np.uint8).reshape(4, 4, 3)
    flips, crops, rotations, one_way, quarters = map(np.asarray, _look(jnp.asarray(image)))
    mirrored = (flips == image[:, ::-1]).all((1, 2, 3))
    assert ((flips == image).all((1, 2, 3)) ^ mirrored).all()
    assert 60 < mirrored.sum() < 140
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    windows = {padded[i : i + 4, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    assert {crop.tobytes() for crop in crops} == windows
    for turns in range(4):
        np.testing.assert_array_equal(quarters[turns], np.rot90(image, turns))
    # Both directions, angles up to 120 degrees, and zeros from outside of the image.
    same = lambda found, turns: (found == np.rot90(image, turns)).all((1, 2, 3)).sum()
    assert same(rotations, 0) > 0
    assert same(rotations, 1) > 0
    assert same(rotations, -1) > 0
    assert same(rotations, 2) == 0
    assert (rotations == 0).any()
    # One direction, and pixels from outside that the network sees as 0.
    assert same(one_way, 0) > 0
    assert same(one_way, 1) > 0
    assert same(one_way, -1) == 0
    for channel, zero in enumerate(np.asarray(ZERO)):
        assert set(np.unique(one_way[..., channel])) == {*np.unique(image[..., channel]), zero}


def test_bad_arguments():
    with pytest.raises(ValueError, match="`padding` is 0"):
        tasks.Crop(padding=0)
    with pytest.raises(ValueError, match="`degrees` is 0"):
        tasks.Rotate(degrees=0)
    with pytest.raises(ValueError, match=r"`degrees` is \(15.0, 0.0\), but must be a range"):
        tasks.Rotate(degrees=(15.0, 0.0))
    with pytest.raises(ValueError, match="Fill 'mean' does not exist. Allowed: black, zero"):
        # The type checker of the tests would reject the name first.
        inspect.unwrap(tasks.Rotate.__init__)(tasks.Rotate(), fill="mean")
