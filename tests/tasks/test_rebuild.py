"""Streams that rebuild a task of the run from its key."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from point_mass import point_mass
from tables import permuted, SEQUENCES, tiny_images, tiny_rows, tiny_text

from spectral import algorithms, tasks
from spectral._core import begin_task, start_run
from spectral.models import MLP


KEY = jax.random.key(4)
LOADER = tasks.Loader(minibatch_size=2)
NUM_TASKS = 4
ROWS = {"num_tasks": NUM_TASKS, "loader": LOADER}
SEQUENCE = {"num_tasks": NUM_TASKS, "loader": SEQUENCES}
STREAMS = {
    "permuted_images": lambda: permuted(num_tasks=NUM_TASKS).stream,
    "permuted_inputs": lambda: tasks.PermutedInputs(tiny_rows("classes"), **ROWS),
    "permuted_labels": lambda: tasks.PermutedLabels(tiny_rows("classes"), **ROWS),
    "random_labels": lambda: tasks.RandomLabels(tiny_rows("classes"), rows=8, **ROWS),
    "rotated_images": lambda: tasks.RotatedImages(tiny_images(), **ROWS),
    "steadily_rotated": lambda: tasks.RotatedImages(tiny_images(), step=7.0, **ROWS),
    "rotated_inputs": lambda: tasks.RotatedInputs(tiny_rows("classes"), **ROWS),
    "noised_images": lambda: tasks.NoisedImages(tiny_images(), **ROWS),
    "noised_inputs": lambda: tasks.NoisedInputs(tiny_rows("classes"), **ROWS),
    "flipped_labels": lambda: tasks.FlippedLabels(tiny_rows("classes"), **ROWS),
    "growing_data": lambda: tasks.GrowingData(tiny_rows("classes"), **ROWS),
    "incremental_classes": lambda: tasks.IncrementalClasses(
        tiny_images(), classes_per_task=1, loader=LOADER
    ),
    # Each pass over the three classes is one task, two tasks or three.
    "split_redrawn": lambda: tasks.SplitClasses(tiny_images(), classes_per_task=2, **ROWS),
    "split_singly": lambda: tasks.SplitClasses(tiny_images(), classes_per_task=1, **ROWS),
    "split_once": lambda: tasks.SplitClasses(
        tiny_images(), classes_per_task=1, redraw=False, **ROWS
    ),
    "landscapes": tasks.ToyLandscapes,
    "permuted_patches": lambda: tasks.PermutedPatches(tiny_images(), 1, **ROWS),
    "permuted_vocabulary": lambda: tasks.PermutedVocabulary(
        text=tiny_text("abcde"), context=6, **SEQUENCE
    ),
    "text_sequence": lambda: tasks.TextSequence(
        (tiny_text("abc"), tiny_text("cd")), context=6, **SEQUENCE
    ),
    "markov_sources": lambda: tasks.MarkovSources(num_symbols=4, context=6, **SEQUENCE),
    "formal_tasks": lambda: tasks.FormalTasks((tasks.CopySymbols(),), **SEQUENCE),
    "gradual": lambda: tasks.InterpolatedInputs(tasks.PermutedInputs(tiny_rows("classes"), **ROWS)),
}
SLOW = {
    "permuted_patches",
    "permuted_vocabulary",
    "text_sequence",
    "markov_sources",
    "formal_tasks",
    "gradual",
}
MODEL = MLP(6, 3, width=2, depth=0, key=KEY)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in STREAMS]
)
def test_a_rebuilt_task_is_the_task_of_the_run(name):
    """Bit for bit, from the states of the first and of the last task."""
    stream, algo = STREAMS[name](), algorithms.bp()
    # Each is compiled once for all tasks.
    start, begin = eqx.filter_jit(start_run), eqx.filter_jit(begin_task)
    rebuild = eqx.filter_jit(lambda stream, state, task: stream.rebuild(state, task, key=KEY))
    run, states = start(MODEL, None, stream, algo, KEY), []
    for task in range(stream.num_tasks):
        run = begin(run, stream, algo, jnp.asarray(task), KEY)
        states.append(run.stream)
    distinct = {tuple(leaf.tobytes() for leaf in _arrays(state)) for state in states}
    assert len(distinct) == stream.num_tasks
    for origin in (states[-1], states[0]):
        for task, state in enumerate(states):
            found = rebuild(stream, origin, jnp.asarray(task))
            for a, b in zip(_arrays(state), _arrays(found), strict=True):
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype


def _arrays(state):
    return [np.asarray(_data(leaf)) for leaf in jax.tree.leaves(state)]


def _data(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: tasks.DriftingInputs(tiny_rows("classes"), **ROWS), "DriftingInputs"),
        (tasks.SlowlyChangingRegression, "SlowlyChangingRegression"),
        (point_mass, "PPO"),
    ],
)
def test_a_stream_with_a_history_says_that_it_cannot(make, name):
    stream = make()
    rebuild = lambda key: stream.rebuild(stream.init(key=key), jnp.asarray(0), key=key)
    with pytest.raises(TypeError, match=f"`stream` is of type {name}, which cannot rebuild"):
        eqx.filter_eval_shape(rebuild, KEY)
