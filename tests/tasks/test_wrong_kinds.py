"""What is said about data and environments of another kind."""

import inspect
import subprocess
import sys
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from tables import tiny_images

from spectral import models, tasks
from spectral.tasks.labelled.sets._image_set import check_images
from spectral.tasks.labelled.sets._label_kinds import check_not_one_hot
from spectral.tasks.labelled.sets._labelled_data import check_labelled


ROWS = np.arange(24.0).reshape(12, 2)
CLASSES = np.arange(12) % 3


def test_boolean_classes_are_not_taken_for_several_answers():
    one_hot = CLASSES[:, None] == np.arange(3)
    with pytest.raises(ValueError, match=r"pass `labels.astype\(int\)` .*make a `LabelledSet`"):
        tasks.labelled_set(ROWS, one_hot)
    assert tasks.labelled_set(ROWS, one_hot.astype(int), num_test=3).num_classes == 3
    # Some rows of several answers have one True, and so may all test rows.
    several = one_hot.copy()
    several[0] = True
    data = tasks.labelled_set(ROWS, several, test=(ROWS, one_hot))
    assert data.num_classes is None
    check_not_one_hot("labels", one_hot[:, :1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 4)), r"`data` is of type ndarray of shape \(4, 4\), but must be a set"),
        ((ROWS, CLASSES), r"`data` is a tuple of 2, .*pass `tasks.labelled_set\(\*data\)`"),
    ],
)
def test_what_is_no_labelled_set(data, message):
    with pytest.raises(TypeError, match=message):
        check_labelled("data", data)


def test_what_is_no_image_set():
    data = tasks.labelled_set(ROWS, CLASSES, num_test=3)
    with pytest.raises(TypeError, match="`images` is of type LabelledSet, .*`tasks.PermutedInpu"):
        check_images("images", data, instead="PermutedInputs")
    with pytest.raises(TypeError, match="must be an ImageSet: pass images from `tasks.load_im"):
        check_images("images", ROWS, instead="PermutedInputs")
    check_images("images", tiny_images(), instead="PermutedInputs")
    check_labelled("data", tiny_images())


@pytest.mark.slow
def test_every_stream_names_what_it_needs():
    """As users call it, without the type checker of the tests."""
    program = """
    import numpy as np
    from spectral import tasks

    rows, labels = np.arange(24.0).reshape(12, 2), np.arange(12) % 3
    data = tasks.labelled_set(rows, labels, num_test=3)
    images = ("PermutedImages", "RotatedImages", "NoisedImages")
    others = ("PermutedInputs", "RotatedInputs", "DriftingInputs", "NoisedInputs", "FlippedLabels",
              "GrowingData", "PermutedLabels", "RandomLabels", "SplitClasses", "IncrementalClasses")
    for names, wrong in ((images, (data, rows, (rows, labels))), (others, (rows, (rows, labels)))):
        for name in names:
            for given in wrong:
                try:
                    getattr(tasks, name)(given)
                except TypeError as error:
                    assert "but must be a" in str(error), (name, error)
                else:
                    raise AssertionError(name)
    print("all")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "all\n", done.stderr


WRONG: Any = (tasks.PointMass(), tasks.CopySymbols(), ("copy",), "a.txt")


@pytest.mark.parametrize(
    ("make", "parts", "message"),
    [
        (tasks.Games, WRONG[0], "`games` is PointMass.*, but must be a tuple of A"),
        (tasks.FormalTasks, WRONG[1], "`rules` is CopySymbols.*must be a tuple"),
        (tasks.FormalTasks, WRONG[2], r"`rules\[0\]` is 'copy', but must be of type Abstr"),
        (tasks.TextSequence, WRONG[3], "`texts` is of type str, but must be a tuple of text"),
    ],
)
def test_one_part_where_several_are_taken(make, parts, message, monkeypatch):
    # Without this the type checker rejects them first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=message):
        make(parts)
