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


def test_data_sets_without_a_length():
    with pytest.raises(TypeError, match=r"without __len__ and __getitem__, .*`list\(dataset\)`"):
        inspect.unwrap(tasks.dataset_arrays)(iter([(1, 2)]))


def test_weights_that_are_not_named():
    network = models.MLP(2, 2, width=2, depth=0, key=jax.random.key(0))
    with pytest.raises(TypeError, match="`arrays` is .*, but must be of type Mapping"):
        inspect.unwrap(models.from_state_dict)(network, ["0.weight"])


class Odd:
    """The interface of gymnax, with returns that may be wrong."""

    default_params = {"gravity": 1.0}

    def __init__(self, case=""):
        self.case = case

    def reset_env(self, key, params):
        return jnp.zeros(2) if self.case == "reset" else (jnp.zeros(2), jnp.zeros(2))

    def step_env(self, key, state, action, params):
        return state, state, 0.0, False

    def action_space(self, params):
        return type("Space", (), {"n": 2})


def test_objects_like_those_of_gymnax():
    with pytest.raises(TypeError, match=r"`name` is the class Odd, .*: pass `Odd\(\)`"):
        tasks.Gymnax(Odd)
    with pytest.raises(TypeError, match=r"`Odd.reset_env` returned an array .*`\(observation, sta"):
        tasks.Gymnax(Odd("reset"))
    with pytest.raises(ValueError, match="the parameters are of type dict, which has no fields wi"):
        tasks.Gymnax(Odd(), physical_parameter="gravity")
    key, one = jax.random.key(0), jnp.ones(())
    with pytest.raises(TypeError, match=r"`Odd.step_env` returned a tuple of 4 .*done, info\)`"):
        tasks.Gymnax(Odd()).step(jnp.zeros(2), jnp.asarray(0), one, key=key)


class Still(tasks.AbstractEnvironment):
    """An environment of one's own that forgets parts of what it must return."""

    observation_size: int = 1
    action_size: int = 2
    discrete: bool = True

    def reset(self, parameter, *, key) -> Any:
        return jnp.zeros(1)

    def step(self, state, action, parameter, *, key) -> Any:
        return state, state, 0.0


def test_environments_of_ones_own():
    limited, key, one = tasks.TimeLimit(Still(), 5), jax.random.key(0), jnp.ones(())
    with pytest.raises(TypeError, match=r"`Still.reset` returned an array .*`\(state, observation"):
        limited.reset(one, key=key)
    state = type("State", (), {"inner": jnp.zeros(1), "steps": jnp.asarray(0)})
    with pytest.raises(TypeError, match=r"`Still.step` returned a tuple of 3 .*with a `Step` seco"):
        inspect.unwrap(type(limited).step)(limited, state, one, one, key=key)
